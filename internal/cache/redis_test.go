package cache

import (
	"bytes"
	"testing"
)

func TestEntry_IsDecodedAsItWasEncoded(t *testing.T) {
	for _, a := range []Answer{
		{ETag: `"0123456789abcdef"`, Body: []byte("body")},
		{Body: []byte("body")},
		{ETag: `"x"`},
	} {
		encoded := encodeEntry(entry{snapshot{"db", 1 << 40}, a})
		got, ok := decodeEntry("db", encoded)
		if !ok || got.snapshot != (snapshot{"db", 1 << 40}) || got.ETag != a.ETag ||
			!bytes.Equal(got.Body, a.Body) {
			t.Errorf("%+v: got %+v, %v", a, got, ok)
		}
	}
	for _, damaged := range [][]byte{nil, make([]byte, 8), {0, 0, 0, 0, 0, 0, 0, 1, 5, 'x'}} {
		if e, ok := decodeEntry("db", damaged); ok {
			t.Errorf("%v: got %+v", damaged, e)
		}
	}
}
