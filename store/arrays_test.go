package store_test

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// TestColumn_EqualsTheServersReadingOfText compares the binary form of random arrays with the
// server's own reading of their text.
func TestColumn_EqualsTheServersReadingOfText(t *testing.T) {
	connector, err := store.Connector(pgtest.DSN(t), nil)
	ok(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	compare := func(typ string, binary []byte, texts []string) {
		t.Helper()
		text := "{" + strings.Join(texts, ",") + "}"
		var equal bool
		var got string
		q := fmt.Sprintf(`SELECT $1::%[1]s IS NOT DISTINCT FROM $2::text::%[1]s, $1::%[1]s::text`,
			typ)
		if err := db.QueryRowContext(t.Context(), q, binary, text).Scan(&equal, &got); err != nil {
			t.Fatalf("%s %s: %v", typ, text, err)
		}
		if !equal {
			t.Errorf("%s: got %s, want %s", typ, got, text)
		}
	}
	for _, n := range []int{0, 1, 2, 3, 17, 1000} {
		var ints, small, floats, codes, times []string
		ids, shorts, values := make([]int64, n), make([]int16, n), make([]float64, n)
		statuses, instants := make([]uint32, n), make([]time.Time, n)
		for i := range n {
			ids[i] = []int64{
				0, 1, math.MaxInt32, math.MinInt32, int64(int32(rnd.Uint32())), 1 << 40, -1 << 40,
			}[rnd.IntN(7)]
			ints = append(ints, fmt.Sprint(ids[i]))
			if ids[i] != int64(int32(ids[i])) {
				ints[i] = "0" // no id of ours
			}
			shorts[i] = int16(rnd.Uint32())
			small = append(small, fmt.Sprint(shorts[i]))
			values[i] = []float64{
				0, math.Copysign(0, -1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64,
				rnd.NormFloat64(), math.Float64frombits(rnd.Uint64()),
			}[rnd.IntN(7)]
			floats = append(floats, fmt.Sprint(values[i]))
			switch {
			case math.IsNaN(values[i]):
				floats[i] = "NULL"
			case math.IsInf(values[i], 0):
				floats[i] = strings.Replace(fmt.Sprint(values[i]), "Inf", "Infinity", 1)
			}
			statuses[i] = []uint32{0, 1, math.MaxUint32, 0x80000000, rnd.Uint32()}[rnd.IntN(5)]
			codes = append(codes, fmt.Sprint(int32(statuses[i])))
			if statuses[i] == 0 {
				codes[i] = "NULL"
			}
			instants[i] = time.UnixMicro(rnd.Int64N(4e15) - 2e15).UTC()
			if rnd.IntN(5) == 0 {
				instants[i] = time.Date(rnd.IntN(9998)+1, time.Month(rnd.IntN(12)+1),
					rnd.IntN(28)+1, 23, 59, 59, 999999000, time.UTC)
			}
			times = append(times, `"`+instants[i].Format("2006-01-02 15:04:05.999999-07")+`"`)
		}
		compare("int[]", store.Int32s(ids), ints)
		compare("smallint[]", store.Int16s(shorts), small)
		compare("float8[]", store.Float8s(values), floats)
		compare("int[]", store.StatusCodes(statuses), codes)
		compare("timestamptz[]", store.Timestamps(instants),
			times)
	}
}

// TestColumn_EncodesEachElementAsTheServerReadsIt compares the elements of column with the server's
// own reading of them.
func TestColumn_EncodesEachElementAsTheServerReadsIt(t *testing.T) {
	connector, err := store.Connector(pgtest.DSN(t), nil)
	ok(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	for typ, tt := range store.SampleColumns {
		got := scan[string](t, db, `SELECT $1::`+typ+`::text`, tt.Encoded)
		if got != tt.Want {
			t.Errorf("%s: got %s, want %s", typ, got, tt.Want)
		}
	}
}

func TestID(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "2147483647": math.MaxInt32, "2147483648": 0, "0": 0, "-1": 0, "01": 0, "+1": 0,
		"": 0, "1.0": 0, "x": 0, "１": 0,
	} {
		if got := store.ID(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
