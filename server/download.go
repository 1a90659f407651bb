package server

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

// maxWrite is the number of bytes for which a client has the time limit of a whole answer.
const maxWrite = 32 << 10

// withoutTimeLimit returns ctx without the time limit of a request. It ends when the client
// disconnects.
func withoutTimeLimit(ctx context.Context) context.Context {
	if c := callOf(ctx); c.whole != nil {
		return c.whole
	}
	return ctx
}

// download writes a file of any length to a client that keeps reading: each write has the time
// limit of a whole answer.
type download struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	wait time.Duration
	zip  *gzip.Writer
}

// newDownload returns a download that sends the head of the answer with the first byte.
func (s *Server) newDownload(w http.ResponseWriter, kind, name string, zipped bool) *download {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	d := &download{w: w, ctl: http.NewResponseController(w), wait: s.cfg.WriteTimeout}
	if zipped {
		h.Set("Content-Encoding", "gzip")
		d.zip, _ = gzip.NewWriterLevel(plain{d}, gzip.BestSpeed) // the level is valid
	}
	return d
}

func (d *download) Write(b []byte) (int, error) {
	if d.zip != nil {
		return d.zip.Write(b)
	}
	return d.write(b)
}

func (d *download) write(b []byte) (int, error) {
	for part := range slices.Chunk(b, maxWrite) {
		if err := d.ctl.SetWriteDeadline(time.Now().Add(d.wait)); err != nil &&
			!errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
		if _, err := d.w.Write(part); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Close ends the file, not the answer.
func (d *download) Close() error {
	if d.zip != nil {
		return d.zip.Close()
	}
	return nil
}

// plain writes without gzip.
type plain struct{ d *download }

func (p plain) Write(b []byte) (int, error) { return p.d.write(b) }

var _ io.WriteCloser = (*download)(nil)
