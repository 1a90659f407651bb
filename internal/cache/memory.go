package cache

import (
	"container/list"
	"sync"
)

// kept is an answer and when it was made. Its body is never written to.
type kept struct {
	moment moment
	body   []byte
}

// overhead is what an answer takes in memory besides its body, about.
const overhead = 256

// memory holds answers up to a number of bytes; those that were asked for longest ago go first.
type memory struct {
	most    int64
	metrics *metrics

	mu    sync.Mutex
	bytes int64
	byKey map[Key]*list.Element
	order *list.List // of *slot, the last asked for in front
}

type slot struct {
	key Key
	kept
}

func newMemory(most int64, m *metrics) *memory {
	return &memory{most: most, metrics: m, byKey: map[Key]*list.Element{}, order: list.New()}
}

func (m *memory) get(key Key) (kept, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[key]
	if e == nil {
		return kept{}, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*slot).kept, true
}

func (m *memory) put(key Key, k kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byKey[key]; e != nil {
		m.remove(e)
	}
	m.byKey[key] = m.order.PushFront(&slot{key, k})
	m.bytes += int64(len(k.body)) + overhead
	for m.bytes > m.most {
		m.remove(m.order.Back())
		m.metrics.evictions.Inc()
	}
	m.metrics.bytes.Set(float64(m.bytes))
}

func (m *memory) remove(e *list.Element) {
	s := m.order.Remove(e).(*slot)
	delete(m.byKey, s.key)
	m.bytes -= int64(len(s.body)) + overhead
}
