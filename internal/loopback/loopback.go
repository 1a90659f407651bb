// Package loopback finds ports for services that tests and benchmarks start.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are chosen below those that operating systems give to outgoing connections, so that none of
// these takes one between its choice and its use, or while its service restarts.
const firstPort, ports, tries = 20_000, 12_000, 100

// FreePort is a TCP port of 127.0.0.1 that was free a moment ago, for a program that cannot choose
// one and say so.
func FreePort() (int, error) {
	for range tries {
		port := firstPort + rand.IntN(ports)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("loopback: found no free port")
}
