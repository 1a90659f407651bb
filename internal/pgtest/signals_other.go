//go:build !unix

package pgtest

import "syscall"

// These signals do not exist here, and the server does not run here.
const (
	pause  = syscall.SIGTERM
	resume = syscall.SIGTERM
)
