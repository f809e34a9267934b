"""Plain `nn.Module`s, handed to the methods by the configuration."""
