package selfmonitor

// Look measures once.
var Look = (*Watcher).look
