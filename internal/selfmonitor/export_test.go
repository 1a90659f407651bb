package selfmonitor

// Measure measures once.
var Measure = (*Monitor).measure
