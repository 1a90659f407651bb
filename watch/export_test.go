package watch

// Look measures once.
var Look = (*Watcher).look
