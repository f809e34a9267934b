/** An error that the person at the page can correct; its message is shown as it is. */
export class InputError extends Error {}
