// Package loopback finds ports for services that tests and benchmarks start.
package loopback

import "net"

// FreePort is a TCP port of 127.0.0.1 that was free a moment ago, for a program that cannot choose one and say so.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
