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
	errNotGzip = &problem{status: http.StatusBadRequest, detail: "The body is not valid gzip."}
	errNoBody  = &problem{
		status: http.StatusBadRequest, detail: "body: is not accepted here; send none.",
		errors: faults{{Field: "body", Reason: "is not accepted here; send none"}},
	}
	errSlowBody = &problem{
		status: http.StatusRequestTimeout, detail: "The body did not arrive in time.",
		header: map[string]string{"Connection": "close"},
	}
	errCrowded = &problem{
		status: http.StatusServiceUnavailable,
		detail: "Too many requests are being read before login; try again.",
		retry:  retryAfter{min: 1, max: 3},
	}
)

// checkBody reads and checks the body, and replaces it for the generated code.
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
	r.Header.Set("Content-Type", kind) // in the form that the generated code compares
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// checkContent returns the result of check for the body, which has at most limit bytes before and
// after decompression. A failure to read has precedence over the error of check.
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
		text.problem(limit, "The body is not valid gzip."), err)
}

// refuseBody refuses a body where the operation accepts none. Some clients send an empty object
// instead of none; it is accepted.
func refuseBody(r *http.Request) error {
	const empty = "{}"
	b, err := io.ReadAll(io.LimitReader(r.Body, int64(len(empty))+1))
	if err != nil || len(b) > 0 && string(b) != empty {
		return errNoBody
	}
	return nil
}

// mediaOf returns the media type of the body and its schema, or a 415.
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

// isZipped reports whether the body is gzip; any other coding is a 415 (RFC 9110, section 15.5.16).
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
		detail: fmt.Sprintf("The body is too large; send at most %d bytes.", limit),
	}
}

var errTooLarge = errors.New("body too large")

// bodyReader reads at most a number of bytes, and remembers its error.
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

// problem returns the answer to the error; nil when there is none.
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

// checkForm checks the fields of a form.
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
		return nil, invalid("body", "is not a valid form")
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
			faults.add(quoteField(name), "is given twice; give it once")
		default:
			_, reason := checkText(vs[0], property.Value)
			faults.add(quoteField(name), reason)
		}
	}
	return body, faults.problem()
}

// bodyBudget bounds the bodies that are read concurrently before authentication, in all and from
// one address. Safe for concurrent use.
type bodyBudget struct {
	mu   sync.Mutex
	all  int
	from map[string]int
}

func newBodyBudget(reg prometheus.Registerer) *bodyBudget {
	b := &bodyBudget{from: map[string]int{}}
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oei_http_public_body_bytes",
		Help: "Bytes reserved for request bodies that are being read before authentication; " +
			"at most 4194304.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(b.all) * maxPublicBody
	})
	return b
}

// reserve reserves one body for addr, or returns false.
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
