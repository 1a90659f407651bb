package push

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Reading is one committed reading. A Value that is not finite is sent as null. Quality is good, uncertain or bad.
type Reading struct {
	SensorID, GatewayID int64
	Timestamp           time.Time
	Value               float64
	Quality             string
}

// Status says since At that a gateway is online, offline, or that nobody knows.
type Status struct {
	GatewayID int64
	Status    string
	At        time.Time
}

// update is a reading or a status on its way to whoever listens, encoded once and shared.
type update struct {
	about  Topic     // what it says something about: conflation keeps the newest for each
	at     time.Time // when it was so
	json   []byte    // its text frame
	single bool      // for one connection only: nothing is gained by preparing it

	once  sync.Once
	frame *websocket.PreparedMessage
	err   error
}

// prepared returns the frame with its WebSocket header, built by the first who asks.
func (u *update) prepared() (*websocket.PreparedMessage, error) {
	u.once.Do(func() { u.frame, u.err = websocket.NewPreparedMessage(websocket.TextMessage, u.json) })
	return u.frame, u.err
}

// Publish offers readings, in their order, to everyone who listens to their sensors or gateways. It never blocks on a
// client; one that cannot keep up gets the newest of each sensor. Calls at once have no order among them.
func (h *Hub) Publish(rs []Reading) {
	for i := range rs {
		r := &rs[i]
		sensor, gateway := Topic{Sensors, r.SensorID}, Topic{Gateways, r.GatewayID}
		h.mu.RLock()
		a, b := h.topics[sensor], h.topics[gateway]
		h.mu.RUnlock()
		if len(a)+len(b) == 0 {
			continue
		}
		h.offer(&update{
			about: sensor, at: r.Timestamp, single: len(a)+len(b) == 1,
			json: appendReading(make([]byte, 0, 128), *r),
		}, a, b)
	}
}

// PublishStatus offers s to everyone who listens to its gateway; like Publish it never blocks.
func (h *Hub) PublishStatus(s Status) {
	gateway := Topic{Gateways, s.GatewayID}
	h.mu.RLock()
	to := h.topics[gateway]
	h.mu.RUnlock()
	if len(to) > 0 {
		h.offer(&update{about: gateway, at: s.At, single: len(to) == 1, json: appendStatus(nil, s)}, to, nil)
	}
}

func (h *Hub) offer(u *update, a, b []*conn) {
	lost := 0
	each(a, b, func(c *conn) {
		if c.lane.offer(u) {
			lost++
		}
	})
	if lost > 0 {
		h.metrics.dropped.Add(float64(lost))
	}
}
