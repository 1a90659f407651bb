package server

import (
	"io"
	"math"

	"github.com/parquet-go/parquet-go"

	"github.com/oei-ms/oei-ms/store"
)

// rowGroup is how many readings are kept in memory before they are written.
const rowGroup = 1 << 16

// parquetRow is a reading as Parquet has it.
type parquetRow struct {
	SensorID   int32    `parquet:"sensor_id"`
	Timestamp  int64    `parquet:"timestamp,delta,timestamp(microsecond)"`
	Value      *float64 `parquet:"value,optional"`
	Quality    string   `parquet:"quality,dict"`
	StatusCode *int64   `parquet:"status_code,optional"`
}

// parquetFile writes readings as Parquet, a row group at a time.
type parquetFile struct {
	w     *parquet.GenericWriter[parquetRow]
	rows  []parquetRow
	nums  []float64 // that rows point to
	codes []int64
}

func newParquet(w io.Writer) *parquetFile {
	return &parquetFile{w: parquet.NewGenericWriter[parquetRow](w, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(rowGroup))}
}

func (p *parquetFile) write(rs []store.Reading) error {
	if cap(p.rows) < len(rs) {
		p.rows, p.nums, p.codes = make([]parquetRow, len(rs)), make([]float64, len(rs)), make([]int64, len(rs))
	}
	rows := p.rows[:len(rs)]
	for i := range rs {
		r := &rs[i]
		rows[i] = parquetRow{SensorID: int32(r.SensorID), Timestamp: r.Timestamp.UnixMicro(), Quality: r.Quality.String()}
		if p.nums[i] = r.Value; !math.IsNaN(r.Value) {
			rows[i].Value = &p.nums[i]
		}
		if p.codes[i] = int64(r.StatusCode); r.StatusCode != 0 {
			rows[i].StatusCode = &p.codes[i]
		}
	}
	_, err := p.w.Write(rows)
	return err
}

func (p *parquetFile) close() error { return p.w.Close() }
