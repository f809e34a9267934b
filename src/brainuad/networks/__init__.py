"""Plain `nn.Module`s, which the configuration passes to the methods."""
