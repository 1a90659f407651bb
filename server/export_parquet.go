package server

import (
	"io"
	"math"

	"github.com/parquet-go/parquet-go"

	"github.com/oei-ms/oei-ms/store"
)

// rowGroup is how many readings are kept in memory before they are written.
const rowGroup = 1 << 16

// parquetRow is a reading in Parquet.
type parquetRow struct {
	SensorID   int32    `parquet:"sensor_id"`
	Timestamp  int64    `parquet:"timestamp,delta,timestamp(microsecond)"`
	Value      *float64 `parquet:"value,optional"`
	Quality    string   `parquet:"quality,dict"`
	StatusCode *int64   `parquet:"status_code,optional"`
}

// summaryRow is a reading with the summary of its sensor in Parquet.
type summaryRow struct {
	parquetRow
	SensorKey  string `parquet:"sensor_key,dict"`
	SensorName string `parquet:"sensor_name,dict"`
	Unit       string `parquet:"unit,dict"`
}

// parquetOf returns functions that write readings to w as Parquet, with the summaries of their
// sensors unless summaries is nil.
func parquetOf(
	w io.Writer, summaries map[int64]store.SensorSummary,
) (write func([]store.Reading) error, end func() error) {
	if summaries == nil {
		p := newParquet(w, func(r parquetRow) parquetRow { return r })
		return p.write, p.close
	}
	p := newParquet(w, func(r parquetRow) summaryRow {
		l := summaries[int64(r.SensorID)]
		return summaryRow{parquetRow: r, SensorKey: l.Key, SensorName: l.Name, Unit: l.Unit}
	})
	return p.write, p.close
}

// parquetFile writes readings as Parquet, a row group at a time.
type parquetFile[R any] struct {
	w     *parquet.GenericWriter[R]
	row   func(parquetRow) R
	rows  []R
	nums  []float64 // that rows point to
	codes []int64
}

func newParquet[R any](w io.Writer, row func(parquetRow) R) *parquetFile[R] {
	return &parquetFile[R]{
		w: parquet.NewGenericWriter[R](w, parquet.Compression(&parquet.Snappy),
			parquet.MaxRowsPerRowGroup(rowGroup)),
		row: row,
	}
}

func (p *parquetFile[R]) write(rs []store.Reading) error {
	if cap(p.rows) < len(rs) {
		p.rows, p.nums, p.codes = make([]R, len(rs)), make([]float64, len(rs)), make([]int64,
			len(rs))
	}
	rows := p.rows[:len(rs)]
	for i := range rs {
		r := &rs[i]
		row := parquetRow{
			SensorID:  int32(r.SensorID),
			Timestamp: r.Timestamp.UnixMicro(),
			Quality:   r.Quality.String(),
		}
		if p.nums[i] = r.Value; !math.IsNaN(r.Value) {
			row.Value = &p.nums[i]
		}
		if p.codes[i] = int64(r.StatusCode); r.StatusCode != 0 {
			row.StatusCode = &p.codes[i]
		}
		rows[i] = p.row(row)
	}
	_, err := p.w.Write(rows)
	return err
}

func (p *parquetFile[R]) close() error { return p.w.Close() }
