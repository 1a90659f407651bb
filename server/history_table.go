package server

import (
	"math"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/series"
)

// table is the history of one sensor: a column for each aggregate, with NaN for missing values.
type table struct {
	aggs    []api.Aggregate
	starts  []time.Time
	ends    []time.Time
	columns [][]float64
}

// Bytes of a row and of each of its numbers, approximately.
const (
	rowBytes    = 80
	numberBytes = 26
)

// newTable returns a table of the buckets in list, which have readings, and of those without
// readings between bounds if fill asks for them.
func newTable(
	list []series.Bucket, bounds []time.Time, aggs []api.Aggregate, fill api.HistoryFill,
) *table {
	t := &table{aggs: aggs, columns: make([][]float64, len(aggs))}
	rows := len(list)
	if fill != api.HistoryFillNone {
		rows = len(bounds) - 1
	}
	t.starts, t.ends = make([]time.Time, 0, rows), make([]time.Time, 0, rows)
	for c := range t.columns {
		t.columns[c] = make([]float64, 0, rows)
	}
	add := func(start, end time.Time, b *series.Bucket) {
		t.starts, t.ends = append(t.starts, start), append(t.ends, end)
		for c, a := range aggs {
			t.columns[c] = append(t.columns[c], aggregate(a, b))
		}
	}
	if fill == api.HistoryFillNone {
		for i := range list {
			add(list[i].Start, list[i].End, &list[i])
		}
		return t
	}
	var isEmpty []bool
	for n := range len(bounds) - 1 {
		var b *series.Bucket
		if len(list) > 0 && list[0].Start.Equal(bounds[n]) {
			b, list = &list[0], list[1:]
		}
		add(bounds[n], bounds[n+1], b)
		isEmpty = append(isEmpty, b == nil)
	}
	for c, a := range aggs {
		if a == api.AggregateCount || a == api.AggregatePercentGood {
			continue
		}
		switch fill {
		case api.HistoryFillPrevious:
			series.FillPrevious(t.columns[c], isEmpty)
		case api.HistoryFillLinear:
			series.FillLinear(t.columns[c], isEmpty, t.starts)
		}
	}
	return t
}

// seconds returns the time from one instant to another, which may exceed a time.Duration.
func seconds(from, to time.Time) float64 { return float64(to.UnixMicro()-from.UnixMicro()) / 1e6 }

// aggregate returns the aggregate a of b; nil has no readings.
func aggregate(a api.Aggregate, b *series.Bucket) float64 {
	switch {
	case b == nil && a == api.AggregateCount:
		return 0
	case b == nil:
		return math.NaN()
	}
	switch a {
	case api.AggregateMin:
		return b.Min
	case api.AggregateMax:
		return b.Max
	case api.AggregateSum:
		return b.Sum
	case api.AggregateCount:
		return float64(b.Readings)
	case api.AggregateFirst:
		return b.First
	case api.AggregateLast:
		return b.Last
	case api.AggregateStddev:
		return b.Stddev()
	case api.AggregateDelta:
		return b.Last - b.First
	case api.AggregateTimeWeightedAvg:
		return b.TimeWeighted
	case api.AggregatePercentGood:
		return b.PercentGood()
	}
	return b.Avg()
}

func (t *table) appendRows(b []byte) []byte {
	b = slices.Grow(b, len(t.starts)*(rowBytes+len(t.aggs)*numberBytes))
	b = append(b, `,"points":[`...)
	for n := range t.starts {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"start":"`...)
		b = jsonenc.AppendTime(b, t.starts[n])
		b = append(b, `","end":"`...)
		b = jsonenc.AppendTime(b, t.ends[n])
		b = append(b, '"')
		for c, a := range t.aggs {
			b = append(b, `,"`...)
			b = append(b, a...)
			b = append(b, `":`...)
			b = jsonenc.AppendNumber(b, t.columns[c][n])
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func (t *table) appendColumns(b []byte) []byte {
	b = slices.Grow(b, len(t.starts)*(rowBytes+len(t.aggs)*numberBytes))
	b = append(b, `,"columns":{"start":[`...)
	b = appendTimes(b, t.starts)
	b = append(b, `],"end":[`...)
	b = appendTimes(b, t.ends)
	b = append(b, ']')
	for c, a := range t.aggs {
		b = append(b, `,"`...)
		b = append(b, a...)
		b = append(b, `":[`...)
		for n, v := range t.columns[c] {
			if n > 0 {
				b = append(b, ',')
			}
			b = jsonenc.AppendNumber(b, v)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendTimes(b []byte, list []time.Time) []byte {
	for n, at := range list {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = jsonenc.AppendTime(b, at)
		b = append(b, '"')
	}
	return b
}
