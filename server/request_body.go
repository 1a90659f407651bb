package server

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	form = "application/x-www-form-urlencoded"

	maxPublicBody             = 4 << 10 // bytes of a body that is read before authentication
	maxPublicBodies           = 1024    // at a time
	maxPublicBodiesPerAddress = 64
)

var (
	errNotGzip = &problem{status: http.StatusBadRequest, detail: "The body is not gzip."}
	errNoBody  = &problem{
		status: http.StatusBadRequest, detail: "body: is not taken here; send none.",
		errors: faults{{Field: "body", Reason: "is not taken here; send none"}},
	}
	errSlowBody = &problem{
		status: http.StatusRequestTimeout, detail: "The body did not arrive in time.",
		header: map[string]string{"Connection": "close"},
	}
	errCrowded = &problem{
		status: http.StatusServiceUnavailable,
		detail: "Too many requests without a login are being read; try again.",
		header: map[string]string{"Retry-After": "1"},
	}
)

// checkBody reads the body, checks it, and leaves it to be read again by the generated code.
func (s *Server) checkBody(c echo.Context, op *operation) error {
	r := c.Request()
	if op.body == nil {
		return refuseBody(r)
	}
	if r.ContentLength == 0 {
		return invalid("body", "is missing")
	}
	limit := s.cfg.BodyLimit
	if op.role == "" {
		limit = min(limit, maxPublicBody)
		addr := callOf(r.Context()).addr
		if !s.publicBodies.reserve(addr) {
			return errCrowded
		}
		defer s.publicBodies.release(addr)
	}
	kind, schema, err := mediaOf(r, op.body)
	if err != nil {
		return err
	}
	zipped, err := isZipped(r, op)
	if err != nil {
		return err
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	deadline := time.Now().Add(s.cfg.ReadTimeout)
	if d, ok := r.Context().Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	err = http.NewResponseController(c.Response()).SetReadDeadline(deadline)
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	body, err := checkContent(r, zipped, limit, func(in io.Reader) ([]byte, error) {
		if kind == form {
			return checkForm(in, schema)
		}
		return checkJSON(r.Context(), in, schema)
	})
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind) // as the generated code compares it
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// checkContent returns what check makes of the body, which has at most limit bytes, also when it is
// unzipped. What failed in reading comes before what check says.
func checkContent(
	r *http.Request, zipped bool, limit int64, check func(io.Reader) ([]byte, error),
) ([]byte, error) {
	wire := &bodyReader{in: r.Body, left: limit}
	if !zipped {
		body, err := check(wire)
		return body, cmp.Or(wire.problem(limit, "The body could not be read."), err)
	}
	z, err := gzip.NewReader(wire)
	if err != nil {
		return nil, cmp.Or(wire.problem(limit, "The body could not be read."), error(errNotGzip))
	}
	text := &bodyReader{in: z, left: limit}
	body, err := check(text)
	return body, cmp.Or(
		wire.problem(limit, "The body could not be read."),
		text.problem(limit, "The body is not gzip."), err)
}

// refuseBody refuses the body of an operation that takes none. An empty object, which some clients
// send in its place, is none.
func refuseBody(r *http.Request) error {
	const empty = "{}"
	b, err := io.ReadAll(io.LimitReader(r.Body, int64(len(empty))+1))
	if err != nil || len(b) > 0 && string(b) != empty {
		return errNoBody
	}
	return nil
}

// mediaOf returns the type of the body and its schema, or the *problem with it, a 415.
func mediaOf(r *http.Request, content openapi3.Content) (string, *openapi3.Schema, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	media := content[kind]
	if err != nil || media == nil {
		return "", nil, unsupported("Send " +
			strings.Join(slices.Sorted(maps.Keys(content)), " or ") + ".")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return "", nil, unsupported("Send the body in UTF-8.")
	}
	return kind, media.Schema.Value, nil
}

// isZipped tells whether the body is gzip; any other coding is a 415 (RFC 9110, section 15.5.16).
func isZipped(r *http.Request, op *operation) (bool, error) {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"),
		",")))
	switch {
	case coding == "" || coding == "identity":
		return false, nil
	case op.role == "":
		p := unsupported("Send the body without Content-Encoding; compressed bodies need a login.")
		p.header = map[string]string{"Accept-Encoding": "identity"}
		return false, p
	case coding == "gzip" || coding == "x-gzip":
		return true, nil
	}
	p := unsupported("Send the body as it is, or with Content-Encoding: gzip.")
	p.header = map[string]string{"Accept-Encoding": "gzip"}
	return false, p
}

func unsupported(detail string) *problem {
	return &problem{status: http.StatusUnsupportedMediaType, detail: detail}
}

func tooLarge(limit int64) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge,
		detail: fmt.Sprintf("A body has at most %d bytes here.", limit),
	}
}

var errTooLarge = errors.New("body too large")

// bodyReader reads at most so many bytes, and remembers what it failed with.
type bodyReader struct {
	in   io.Reader
	left int64
	err  error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		err = errTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// problem is how a failure is answered; nil without one.
func (b *bodyReader) problem(limit int64, otherwise string) error {
	switch {
	case b.err == nil:
		return nil
	case errors.Is(b.err, errTooLarge):
		return tooLarge(limit)
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return errSlowBody
	}
	return &problem{status: http.StatusBadRequest, detail: otherwise}
}

// checkForm checks the fields of a form, which are texts.
func checkForm(in io.Reader, schema *openapi3.Schema) ([]byte, error) {
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, invalid("body", "is missing")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalid("body", "is not a form")
	}
	var faults faults
	for _, name := range schema.Required {
		if len(values[name]) == 0 {
			faults.add(name, "is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		vs, property := values[name], schema.Properties[name]
		switch {
		case property == nil:
			faults.add(quoteField(name), "is not known here")
		case len(vs) > 1:
			faults.add(quoteField(name), "is given twice")
		default:
			_, reason := checkText(vs[0], property.Value)
			faults.add(quoteField(name), reason)
		}
	}
	return body, faults.problem()
}

// bodyBudget bounds the bodies that are read at a time before it is known who sends them, in all
// and from one address. It is safe for concurrent use.
type bodyBudget struct {
	mu   sync.Mutex
	all  int
	from map[string]int
}

func newBodyBudget(reg prometheus.Registerer) *bodyBudget {
	b := &bodyBudget{from: map[string]int{}}
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oei_http_public_body_bytes",
		Help: "Bytes reserved for request bodies that are being read before authentication; at most 4194304.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(b.all) * maxPublicBody
	})
	return b
}

// reserve makes room for one body from addr, or returns false.
func (b *bodyBudget) reserve(addr string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= maxPublicBodies || b.from[addr] >= maxPublicBodiesPerAddress {
		return false
	}
	b.all++
	b.from[addr]++
	return true
}

func (b *bodyBudget) release(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.from[addr]--; b.from[addr] == 0 {
		delete(b.from, addr)
	}
}
