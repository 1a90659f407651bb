package oei

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const maxProblem = 64 << 10 // bytes

// ProblemType is the type of a [Problem], such as [ErrNotFound]: an error to compare with.
type ProblemType string

// Error returns the type.
func (t ProblemType) Error() string { return string(t) }

// Problem is an error answer of the server.
type Problem struct {
	Type      ProblemType  `json:"type"`     // stable, for programs
	Title     string       `json:"title"`    // the type in words
	Status    int          `json:"status"`   // HTTP status code
	Detail    string       `json:"detail"`   // this error in words, for people
	Errors    []FieldError `json:"errors"`   // the faulty fields, at most 20
	RequestID string       `json:"instance"` // finds the request in the log of the server

	Operation string      `json:"-"` // what was called, such as "getSensor"
	Header    http.Header `json:"-"` // of the answer
}

// Error returns the operation, the error in words and the id of the request.
func (p *Problem) Error() string {
	text := "oei: " + p.Operation + ": " + p.Detail
	if p.RequestID != "" {
		return fmt.Sprintf("%s (%d, request %s)", text, p.Status, p.RequestID)
	}
	return fmt.Sprintf("%s (%d)", text, p.Status)
}

// Is tells whether target is the problem's type.
func (p *Problem) Is(target error) bool {
	t, ok := target.(ProblemType)
	return ok && t == p.Type
}

// problemOf reads an error answer. An answer that is no problem document, as of a proxy, gets the
// type of its status.
func problemOf(operation string, res *http.Response) *Problem {
	p := &Problem{}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	if err != nil || json.Unmarshal(text, p) != nil || p.Type == "" {
		*p = Problem{
			Type:      problemTypes[res.StatusCode],
			Title:     http.StatusText(res.StatusCode),
			RequestID: res.Header.Get("X-Request-ID"),
		}
	}
	p.Status, p.Operation, p.Header = res.StatusCode, operation, res.Header
	if p.Detail == "" {
		p.Detail = strings.ToLower(p.Title)
	}
	return p
}
