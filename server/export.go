package server

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// ExportReadings answers GET /api/data/export.
func (s *Server) ExportReadings(
	ctx context.Context, req api.ExportReadingsRequestObject,
) (api.ExportReadingsResponseObject, error) {
	p := req.Params
	if err := checkSpan(p.Start, p.End); err != nil {
		return nil, err
	}
	summaries, err := s.sensorSummaries(ctx, p.Include, p.SensorID)
	if err != nil {
		return nil, err
	}
	// after reading the summaries, so that each sensor has one
	if err := s.checkSensors(ctx, p.SensorID); err != nil {
		return nil, err
	}
	q := store.ExportQuery{Sensors: p.SensorID, Start: p.Start, End: p.End}
	if p.Quality != nil {
		quality, _ := store.ParseQuality(string(*p.Quality)) // the contract has checked it
		q.Quality = &quality
	}
	if p.After != nil {
		if q.After, err = afterReading(*p.After); err != nil {
			return nil, err
		}
		if *p.Format == api.ExportFormatParquet {
			return nil, invalid("after", "is not possible for parquet; use csv or ndjson")
		}
	}
	cost, err := s.store.ReadingsCost(ctx, p.SensorID, p.Start, p.End)
	if err != nil {
		return nil, err
	}
	q.Enter = s.limiter.perPiece(cost)
	zipped := acceptsGzip(callOf(ctx).acceptEncoding)
	return streamedResponse(func(w http.ResponseWriter) error {
		return s.export(withoutTimeLimit(ctx), w, q, summaries, *p.Format, zipped)
	}), nil
}

// export writes the readings of q in format, with the summaries of their sensors unless summaries
// is nil.
func (s *Server) export(
	ctx context.Context, w http.ResponseWriter, q store.ExportQuery,
	summaries map[int64]store.SensorSummary,
	format api.ExportFormat, zipped bool,
) error {
	const name = "oei-ms-readings."
	var d *download
	var write func([]store.Reading) error
	end := func() error { return nil }
	var buf []byte
	lines := func(
		line func([]byte, *store.Reading) []byte, summary func(store.SensorSummary) string,
		end string,
	) func([]store.Reading) error {
		texts := formatSummaries(summaries, summary)
		return func(rs []store.Reading) error {
			buf = buf[:0]
			for i := range rs {
				buf = line(buf, &rs[i])
				buf = append(buf, texts[rs[i].SensorID]...)
				buf = append(buf, end...)
			}
			_, err := d.Write(buf)
			return err
		}
	}
	w.Header().Set("Vary", "Accept-Encoding")
	switch format {
	case api.ExportFormatParquet:
		d = s.newDownload(w, "application/vnd.apache.parquet", name+"parquet", false)
		write, end = parquetOf(d, summaries)
	case api.ExportFormatNdjson:
		d = s.newDownload(w, "application/x-ndjson", name+"ndjson", zipped)
		write = lines(appendReadingMembers, ndjsonSummary, "}\n")
	default:
		d = s.newDownload(w, "text/csv; charset=utf-8", name+"csv", zipped)
		write = lines(appendCSVCells, csvSummary, "\n")
		// The line is sent with the first readings: before them, an error can still be answered.
		if q.After == nil {
			write, end = withHeader(d, csvHead(summaries != nil), write)
		}
	}
	if err := s.store.Export(ctx, q, write); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	return d.Close()
}

// withHeader writes line before the first readings, or at the end when there are none.
func withHeader(
	w io.Writer, line string, lines func([]store.Reading) error,
) (write func([]store.Reading) error, end func() error) {
	head := sync.OnceValue(func() error {
		_, err := io.WriteString(w, line)
		return err
	})
	return func(rs []store.Reading) error {
		if err := head(); err != nil {
			return err
		}
		return lines(rs)
	}, head
}

// afterReading reads {sensor_id}@{timestamp}.
func afterReading(text string) (*store.Cursor, error) {
	id, at, _ := strings.Cut(text, "@")
	sensor, err := strconv.ParseInt(id, 10, 32)
	t, err2 := rfc3339.Parse(at)
	if err != nil || err2 != nil {
		return nil, invalid("after",
			"is not {sensor_id}@{timestamp}, such as 1@2026-01-02T03:04:05.678000Z")
	}
	return &store.Cursor{SensorID: sensor, Timestamp: t}, nil
}

func csvHead(withSensor bool) string {
	const head = "sensor_id,timestamp,value,quality,status_code"
	if withSensor {
		return head + ",sensor_key,sensor_name,unit\n"
	}
	return head + "\n"
}

func appendCSVCells(b []byte, r *store.Reading) []byte {
	b = strconv.AppendInt(b, r.SensorID, 10)
	b = append(b, ',')
	b = jsonenc.AppendTime(b, r.Timestamp)
	b = append(b, ',')
	if !math.IsNaN(r.Value) {
		b = strconv.AppendFloat(b, r.Value, 'g', -1, 64)
	}
	b = append(b, ',')
	b = append(b, r.Quality.String()...)
	b = append(b, ',')
	if r.StatusCode != 0 {
		b = strconv.AppendUint(b, uint64(r.StatusCode), 10)
	}
	return b
}
