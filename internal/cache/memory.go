package cache

import (
	"container/list"
	"sync"
)

// entry is an answer and its snapshot.
type entry struct {
	snapshot snapshot
	Answer
}

// entryOverhead is about how many bytes an entry takes besides its body.
const entryOverhead = 256

// memory holds entries up to a number of bytes, and evicts those whose last use is oldest.
type memory struct {
	maxBytes int64
	metrics  *metrics

	mu    sync.Mutex
	bytes int64
	byKey map[Key]*list.Element
	order *list.List // of *slot; the one used last is in front
}

type slot struct {
	key Key
	entry
}

func newMemory(maxBytes int64, m *metrics) *memory {
	return &memory{
		maxBytes: maxBytes,
		metrics:  m,
		byKey:    map[Key]*list.Element{},
		order:    list.New(),
	}
}

func (m *memory) get(key Key) (entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[key]
	if e == nil {
		return entry{}, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*slot).entry, true
}

func (m *memory) put(key Key, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.byKey[key]; old != nil {
		m.remove(old)
	}
	m.byKey[key] = m.order.PushFront(&slot{key, e})
	m.bytes += int64(len(e.Body)) + entryOverhead
	for m.bytes > m.maxBytes {
		m.remove(m.order.Back())
		m.metrics.evictions.Inc()
	}
	m.metrics.bytes.Set(float64(m.bytes))
}

func (m *memory) remove(e *list.Element) {
	s := m.order.Remove(e).(*slot)
	delete(m.byKey, s.key)
	m.bytes -= int64(len(s.Body)) + entryOverhead
}
