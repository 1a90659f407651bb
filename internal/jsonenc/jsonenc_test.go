package jsonenc

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestAppendTime_EqualsFormat(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	zone := time.FixedZone("", 5*3600)
	for range 10_000 {
		at := time.Unix(first+rnd.Int64N(last-first), rnd.Int64N(1e9)).In(zone)
		want := at.UTC().Format("2006-01-02T15:04:05.000000Z")
		if got := string(AppendTime(nil, at)); got != want {
			t.Fatalf("seed %d: got %s, want %s", seed, got, want)
		}
	}
}

func TestAppendNumber_EqualsEncodingJSON(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	numbers := []float64{
		0, math.Copysign(0, -1), 1e-6, 1e-7, 1e20, 1e21, 0.1, -273.15,
		math.MaxFloat64, math.SmallestNonzeroFloat64,
	}
	for range 10_000 {
		numbers = append(numbers, math.Float64frombits(rnd.Uint64()))
	}
	for _, v := range numbers {
		got := AppendNumber(nil, v)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			if string(got) != "null" {
				t.Errorf("%v: got %s, want null", v, got)
			}
			continue
		}
		var back float64
		if err := json.Unmarshal(got, &back); err != nil || back != v {
			t.Fatalf("seed %d: %v: got %s, which reads as %v, %v", seed, v, got, back, err)
		}
	}
}
