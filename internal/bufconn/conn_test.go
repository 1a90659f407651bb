package bufconn

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// recorder is a connection that keeps what is written to it.
type recorder struct {
	net.Conn
	writes [][]byte
	err    error
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, bytes.Clone(p))
	return len(p), r.err
}

func TestConn_HoldsWritesUntilFlush(t *testing.T) {
	const size = 8 << 10
	tests := map[string]struct {
		sizes []int // of the writes while it holds
		calls []int // of the writes to the connection
	}{
		"writes that fit leave together": {[]int{100, 200, 300}, []int{600}},
		"no write is no write":           {nil, nil},
		"a full buffer is sent":          {[]int{size - 1, 1, 1, size}, []int{size, 1, size}},
		"a write that never fits goes alone": {
			[]int{100, size + 1, 100},
			[]int{100, size + 1, 100},
		},
		"a large first write is sent at once": {[]int{3 * size}, []int{3 * size}},
		"small writes after a large are held": {[]int{size + 1, 1, 2}, []int{size + 1, 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out := new(recorder)
			c := New(out)
			var want []byte
			c.Hold(size)
			for i, size := range tt.sizes {
				p := bytes.Repeat([]byte{byte(i)}, size)
				want = append(want, p...)
				if n, err := c.Write(p); n != size || err != nil {
					t.Fatalf("Write = %d, %v; want %d", n, err, size)
				}
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := bytes.Join(out.writes, nil); !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want the %d written, in order", len(got), len(want))
			}
			for i, call := range out.writes {
				if i >= len(tt.calls) || len(call) != tt.calls[i] {
					t.Errorf("write %d had %d bytes, want sizes %v", i, len(call), tt.calls)
				}
			}
			if len(out.writes) != len(tt.calls) {
				t.Errorf("got %d writes, want %d", len(out.writes), len(tt.calls))
			}
			if _, err := c.Write([]byte("x")); err != nil || len(out.writes) != len(tt.calls)+1 {
				t.Errorf("a write after Flush was not sent at once: %v", err)
			}
		})
	}
}

func TestBorrow_ReturnsTheSmallestSufficientBuffer(t *testing.T) {
	for size, want := range map[int]int{
		0:         1 << 10,
		1:         1 << 10,
		1 << 10:   1 << 10,
		1<<10 + 1: 2 << 10,
		4 << 10:   4 << 10,
		5 << 10:   8 << 10,
		8 << 10:   8 << 10,
		1 << 20:   8 << 10,
	} {
		buf := Borrow(size)
		if len(*buf) != 0 || cap(*buf) != want {
			t.Errorf("Borrow(%d): got length %d and capacity %d, want 0 and %d", size, len(*buf),
				cap(*buf), want)
		}
		*buf = append(*buf, make([]byte, size)...) // may make it grow
		Release(buf)
	}
}

func TestConn_FlushReportsTheErrorOfTheWrite(t *testing.T) {
	broken := errors.New("broken")
	c := New(&recorder{err: broken})
	c.Hold(100)
	_, _ = c.Write([]byte("x"))
	if err := c.Flush(); !errors.Is(err, broken) {
		t.Errorf("Flush() = %v, want %v", err, broken)
	}
}
