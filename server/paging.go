package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// A cursor names the last row of the page before, in base64url so that nobody takes it for more
// than it is.

func encodeID(id int64) string { return encode(strconv.FormatInt(id, 10)) }

// idCursor returns the id a page begins behind; 0 for the first.
func idCursor(cursor *string) (int64, error) {
	if cursor == nil {
		return 0, nil
	}
	id, err := strconv.ParseInt(decode(*cursor), 10, 32)
	if err != nil || id < 1 {
		return 0, errCursor
	}
	return id, nil
}

func encodeReading(r store.Reading) string { return encodeInstant(r.Timestamp, r.SensorID) }

// readingCursor returns the place a page begins behind; nil for the first.
func readingCursor(cursor *string) (*store.Cursor, error) {
	at, sensor, err := instantCursor(cursor, 32)
	if at == nil {
		return nil, err
	}
	return &store.Cursor{Timestamp: *at, SensorID: sensor}, nil
}

func encodeInstant(at time.Time, id int64) string {
	return encode(fmt.Sprintf("%d.%d", at.UnixMicro(), id))
}

// instantCursor returns the instant and the id, which has so many bits, of the row a page begins
// behind; nil for the first.
func instantCursor(cursor *string, bits int) (*time.Time, int64, error) {
	if cursor == nil {
		return nil, 0, nil
	}
	at, row, _ := strings.Cut(decode(*cursor), ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	id, err2 := strconv.ParseInt(row, 10, bits)
	t := time.UnixMicro(micros).UTC()
	if err != nil || err2 != nil || id < 1 || t.Year() < 0 || t.Year() > 9999 {
		return nil, 0, errCursor
	}
	return &t, id, nil
}

var errCursor = invalid("cursor", "is not from a Link header")

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// decode returns "" for what encode did not make.
func decode(cursor string) string {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return ""
	}
	return string(b)
}

// page cuts rows, of which one more than limit were asked for, and returns the Link to the next
// page if there is one: the request's own address, so that the filters stay.
func page[T any](ctx context.Context, rows []T, limit int, cursor func(T) string) ([]T, *string) {
	if len(rows) <= limit {
		return rows, nil
	}
	rows = rows[:limit]
	link := nextPage(ctx, cursor(rows[limit-1]))
	return rows, &link
}

// nextPage is the Link to the page behind cursor.
func nextPage(ctx context.Context, cursor string) string {
	u := callOf(ctx).url
	q := u.Query()
	q.Set("cursor", cursor)
	return fmt.Sprintf("<%s?%s>; rel=\"next\"", u.EscapedPath(), q.Encode())
}

// offsetCursor returns the offset a page begins behind; 0 for the first.
func offsetCursor(cursor *string) (int64, error) {
	if cursor == nil {
		return 0, nil
	}
	offset, err := strconv.ParseInt(decode(*cursor), 10, 64)
	if err != nil || offset < 1 {
		return 0, errCursor
	}
	return offset, nil
}
