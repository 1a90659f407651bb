package series

// Aggregate summarizes consecutive readings of one sensor. The zero Aggregate is that of no
// readings. All fields but Count, Good, Begin, End and MaxSpacing are of usable readings.
type Aggregate struct {
	Count, Good, Usable int64
	Begin, End          Instant // of the first and the last reading
	MaxSpacing          Instant // the longest time between two consecutive readings
	FirstAt, LastAt     Instant
	Sum, Min, Max       float64
	M2                  float64 // sum of the squared deviations from the mean
	First, Last         float64
	// Integral is the sum of values × seconds from First to Last; each holds until the next.
	Integral float64
}

// Add adds a reading that is later than all before.
func (a *Aggregate) Add(r Reading) {
	if a.Count == 0 {
		a.Begin = r.At
	} else {
		a.MaxSpacing = max(a.MaxSpacing, r.At-a.End)
	}
	a.End = r.At
	a.Count++
	if r.Good {
		a.Good++
	}
	if !r.isUsable() {
		return
	}
	v := r.Value
	if a.Usable == 0 {
		a.First, a.FirstAt, a.Min, a.Max = v, r.At, v, v
	} else {
		a.Integral += a.Last * r.At.Since(a.LastAt)
		a.Min, a.Max = min(a.Min, v), max(a.Max, v)
	}
	a.Last, a.LastAt = v, r.At
	a.Sum += v
	a.Usable++
	if n := float64(a.Usable); n > 1 { // Youngs and Cramer, 1971
		d := v*n - a.Sum
		a.M2 += d / n * (d / (n - 1))
	}
}

// Merge adds the readings of o, which are later than all before.
func (a *Aggregate) Merge(o *Aggregate) {
	switch {
	case o.Count == 0:
		return
	case a.Count == 0:
		*a = *o
		return
	}
	a.MaxSpacing = max(a.MaxSpacing, o.MaxSpacing, o.Begin-a.End)
	a.End = o.End
	a.Count += o.Count
	a.Good += o.Good
	switch {
	case o.Usable == 0:
		return
	case a.Usable == 0:
		a.First, a.FirstAt, a.Min, a.Max = o.First, o.FirstAt, o.Min, o.Max
	default:
		a.Integral += a.Last * o.FirstAt.Since(a.LastAt)
		a.Min, a.Max = min(a.Min, o.Min), max(a.Max, o.Max)
		n, m := float64(a.Usable), float64(o.Usable)
		d := a.Sum/n - o.Sum/m
		a.M2 += d * d * n * m / (n + m)
	}
	a.Integral += o.Integral
	a.M2 += o.M2
	a.Sum += o.Sum
	a.Usable += o.Usable
	a.Last, a.LastAt = o.Last, o.LastAt
}
