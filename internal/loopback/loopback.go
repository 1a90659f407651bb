// Package loopback finds ports for services that tests and benchmarks start.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are below the range that operating systems use for outgoing connections, so that none of
// these takes a port between its choice and its use, or while its service restarts.
const (
	firstPort = 20_000
	portCount = 12_000
	maxTries  = 100
)

// FreePort returns a TCP port of 127.0.0.1 that nothing listens on, for a program that cannot
// choose a port itself and report it.
func FreePort() (int, error) {
	for range maxTries {
		port := firstPort + rand.IntN(portCount)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("loopback: found no free port")
}
