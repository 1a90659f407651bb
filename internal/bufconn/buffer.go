package bufconn

import (
	"math/bits"
	"sync"
)

// pools hold buffers of 1, 2, 4 and 8 KiB. A writer takes one no larger than it needs, because in
// a burst thousands of writers have one at once.
var pools [4]sync.Pool

const (
	minBuffer = 1 << 10
	maxBuffer = minBuffer << (len(pools) - 1)
)

func poolIndex(size int) int {
	size = min(max(size, minBuffer), maxBuffer)
	return bits.Len(uint(size-1)) - bits.Len(minBuffer-1)
}

// Borrow returns an empty buffer with capacity for size bytes, but for at most 8 KiB. Release
// gives it back.
func Borrow(size int) *[]byte {
	i := poolIndex(size)
	if buf, ok := pools[i].Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, minBuffer<<i)
	return &buf
}

// Release gives buf back. A buffer that has grown over 8 KiB is left to the garbage collector.
func Release(buf *[]byte) {
	*buf = (*buf)[:0]
	if c := cap(*buf); c <= maxBuffer {
		pools[poolIndex(c)].Put(buf)
	}
}
