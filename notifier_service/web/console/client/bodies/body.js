/** What is drawn of the parameters of a request: the same in a page, a dialog and a terminal. */
export {};
