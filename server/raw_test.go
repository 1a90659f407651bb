package server_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/server"
)

var inBraces = regexp.MustCompile(`\{[^}]+\}`)

func contractOf(t *testing.T) *openapi3.T { return contract(t) }

func newContract(doc *openapi3.T) error {
	_, err := server.NewContract(doc)
	return err
}

// raw sends a request line that no client library would, and returns the status.
func (s *system) raw(method, target, token string) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	auth := ""
	if token != "" {
		auth = "Authorization: Bearer " + token + "\r\n"
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\n%sConnection: close\r\n\r\n", method, target,
		auth)
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
