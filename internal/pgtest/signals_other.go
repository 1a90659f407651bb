//go:build !unix

package pgtest

import "syscall"

// There are no such signals here, and no server to send them to.
const (
	pause  = syscall.SIGTERM
	resume = syscall.SIGTERM
)
