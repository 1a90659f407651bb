package push

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// sink is a connection that remembers what was written to it.
type sink struct {
	net.Conn
	writes [][]byte
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), s.err
}

func TestWire(t *testing.T) {
	const room = 8 << 10
	tests := map[string]struct {
		sizes []int // of what is written while it gathers
		calls []int // sizes of what reaches the connection
	}{
		"what fits leaves at once":  {[]int{100, 200, 300}, []int{600}},
		"nothing leaves as nothing": {nil, nil},
		"a full one makes room":     {[]int{room - 1, 1, 1, room}, []int{room, 1, room}},
		"what never fits goes by itself": {
			[]int{100, room + 1, 100}, []int{100, room + 1, 100},
		},
		"what never fits goes without delay":  {[]int{3 * room}, []int{3 * room}},
		"small ones after a big one are kept": {[]int{room + 1, 1, 2}, []int{room + 1, 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out := new(sink)
			w := &wire{Conn: out}
			var want []byte
			w.gather(room)
			for i, size := range tt.sizes {
				p := bytes.Repeat([]byte{byte(i)}, size)
				want = append(want, p...)
				if n, err := w.Write(p); n != size || err != nil {
					t.Fatalf("Write = %d, %v; want %d", n, err, size)
				}
			}
			if err := w.flush(); err != nil {
				t.Fatal(err)
			}
			if got := bytes.Join(out.writes, nil); !bytes.Equal(got, want) {
				t.Errorf("%d bytes arrived, want the %d written, in order", len(got), len(want))
			}
			for i, call := range out.writes {
				if i >= len(tt.calls) || len(call) != tt.calls[i] {
					t.Errorf("write %d was of %d bytes, want sizes %v", i, len(call), tt.calls)
				}
			}
			if len(out.writes) != len(tt.calls) {
				t.Errorf("%d writes, want %d", len(out.writes), len(tt.calls))
			}
			if _, err := w.Write([]byte("x")); err != nil || len(out.writes) != len(tt.calls)+1 {
				t.Errorf("after flush a write has to go through: %v", err)
			}
		})
	}
}

func TestBuffersAreNoLargerThanNeeded(t *testing.T) {
	for size, want := range map[int]int{
		0: 1 << 10, 1: 1 << 10, 1 << 10: 1 << 10, 1<<10 + 1: 2 << 10, 4 << 10: 4 << 10,
		5 << 10: 8 << 10, 8 << 10: 8 << 10, 1 << 20: 8 << 10,
	} {
		buf := borrow(size)
		if len(*buf) != 0 || cap(*buf) != want {
			t.Errorf("borrow(%d) is %d long with room for %d, want 0 and %d", size, len(*buf),
				cap(*buf), want)
		}
		*buf = append(*buf, make([]byte, size)...) // it may have grown
		giveBack(buf)
	}
}

func TestAWireReportsWhatFailed(t *testing.T) {
	broken := errors.New("broken")
	w := &wire{Conn: &sink{err: broken}}
	w.gather(100)
	_, _ = w.Write([]byte("x"))
	if err := w.flush(); !errors.Is(err, broken) {
		t.Errorf("flush() = %v, want %v", err, broken)
	}
}
