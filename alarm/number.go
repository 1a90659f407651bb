package alarm

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDigits is how many significant digits of a float64 survive arithmetic: with 15 digits
	// 0.1 + 0.2 is 0.3.
	maxDigits = 15
	// Magnitudes from minPlain to below maxPlain are written without an exponent.
	minPlain, maxPlain = 1e-9, 1e15
)

// FormatNumber formats v for people: with all significant digits, and without an exponent for usual
// magnitudes, such as 12345678.9 and 0.00001.
func FormatNumber(v float64) string {
	if v == 0 {
		return "0" // not -0
	}
	format := byte('f')
	if m := math.Abs(v); m < minPlain || m >= maxPlain {
		format = 'e'
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', maxDigits, 64), 64)
	switch {
	case err != nil: // it rounds to infinity
		return strconv.FormatFloat(v, format, -1, 64)
	case rounded != v && float64(float32(v)) == v:
		// a float32 of a device: its 21.3 is 21.299999237060547
		return strconv.FormatFloat(v, format, -1, 32)
	}
	return strconv.FormatFloat(rounded, format, -1, 64)
}

// formatDuration formats d without trailing units that are 0: 10m, 1h30m.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
