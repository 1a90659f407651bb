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

// A cursor names the last row of the page before. It is encoded so that clients treat it as opaque.

func encodeCursor(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// decodeCursor returns "" for a text that encodeCursor did not make.
func decodeCursor(cursor string) string {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return ""
	}
	return string(b)
}

var errCursor = invalid("cursor", "is not from a Link header; use the next link of an answer")

func encodeID(id int64) string { return encodeCursor(strconv.FormatInt(id, 10)) }

// idCursor returns the id after which a page begins; 0 for the first page.
func idCursor(cursor *string) (int64, error) {
	if cursor == nil {
		return 0, nil
	}
	id, err := strconv.ParseInt(decodeCursor(*cursor), 10, 32)
	if err != nil || id < 1 {
		return 0, errCursor
	}
	return id, nil
}

// offsetCursor returns the offset after which a page begins; 0 for the first page.
func offsetCursor(cursor *string) (int64, error) {
	if cursor == nil {
		return 0, nil
	}
	offset, err := strconv.ParseInt(decodeCursor(*cursor), 10, 64)
	if err != nil || offset < 1 {
		return 0, errCursor
	}
	return offset, nil
}

func encodeReading(r store.Reading) string { return encodeInstant(r.Timestamp, r.SensorID) }

// readingCursor returns the reading after which a page begins; nil for the first page.
func readingCursor(cursor *string) (*store.Cursor, error) {
	at, sensor, err := instantCursor(cursor, 32)
	if at == nil {
		return nil, err
	}
	return &store.Cursor{Timestamp: *at, SensorID: sensor}, nil
}

func encodeInstant(at time.Time, id int64) string {
	return encodeCursor(fmt.Sprintf("%d.%d", at.UnixMicro(), id))
}

// instantCursor returns the instant and the id, which has the given number of bits, of the row
// after which a page begins; nil for the first page.
func instantCursor(cursor *string, bits int) (*time.Time, int64, error) {
	if cursor == nil {
		return nil, 0, nil
	}
	at, row, _ := strings.Cut(decodeCursor(*cursor), ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	id, err2 := strconv.ParseInt(row, 10, bits)
	t := time.UnixMicro(micros).UTC()
	if err != nil || err2 != nil || id < 1 || t.Year() < 0 || t.Year() > 9999 {
		return nil, 0, errCursor
	}
	return &t, id, nil
}

// page cuts rows, which were read with a limit of one more, to limit. It returns the Link to the
// next page if there is one.
func page[T any](ctx context.Context, rows []T, limit int, cursor func(T) string) ([]T, *string) {
	if len(rows) <= limit {
		return rows, nil
	}
	rows = rows[:limit]
	link := nextPage(ctx, cursor(rows[limit-1]))
	return rows, &link
}

// nextPage returns the Link to the page after cursor: the address of the request, filters included.
func nextPage(ctx context.Context, cursor string) string {
	u := callOf(ctx).url
	q := u.Query()
	q.Set("cursor", cursor)
	return fmt.Sprintf("<%s?%s>; rel=\"next\"", address(ctx, "%s", u.EscapedPath()), q.Encode())
}

// totalCount returns the number of all rows that match filter, for X-Total-Count, when it is
// wanted.
func totalCount[F any](
	ctx context.Context, wanted bool, count func(context.Context, F) (int64, error), filter F,
) (*int64, error) {
	if !wanted {
		return nil, nil
	}
	n, err := count(ctx, filter)
	return &n, err
}
