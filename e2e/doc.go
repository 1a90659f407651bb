// Package e2e tests the program as its users run it: as processes, under load, with faults, and
// with several instances.
package e2e
