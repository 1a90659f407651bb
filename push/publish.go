package push

import (
	"cmp"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Reading is one committed reading. A Value that is not finite is sent as null. Quality is good,
// uncertain or bad. SensorType may be empty, then those who listen to a type do not get it.
type Reading struct {
	SensorID, GatewayID int64
	SensorType          string
	Timestamp           time.Time
	Received            time.Time // zero where it is not known
	Value               float64
	Quality             string
}

// order is the place of a reading among those of its sensor: by its effective time, the earlier of
// its timestamp and its receipt, so that a device's clock that runs ahead hides nothing; of one
// effective time by how far the timestamp is ahead of it.
type order struct {
	at    time.Time
	ahead time.Duration
}

func (r *Reading) order() order {
	if r.Received.IsZero() || !r.Timestamp.After(r.Received) {
		return order{at: r.Timestamp}
	}
	return order{r.Received, r.Timestamp.Sub(r.Received)}
}

func (o order) compare(p order) int {
	return cmp.Or(o.at.Compare(p.at), cmp.Compare(o.ahead, p.ahead))
}

func (o order) before(p order) bool { return o.compare(p) < 0 }
func (o order) after(p order) bool  { return o.compare(p) > 0 }

// Status says since At that a gateway is online, offline, or that nobody knows.
type Status struct {
	GatewayID int64
	Status    string
	At        time.Time
}

// update is a reading, a status, an alarm event or a part of a snapshot on its way to whoever
// listens, encoded once and shared.
type update struct {
	about    Topic  // what it says something about: conflation keeps the newest for each
	at       order  // when it was so
	offset   int64  // of an alarm event
	severity uint8  // of an alarm event, its bit
	json     []byte // its text frame
	single   bool   // for one connection only: nothing is gained by preparing it

	once  sync.Once
	frame *websocket.PreparedMessage
	err   error
}

// prepared returns the frame with its WebSocket header, built by the first who asks.
func (u *update) prepared() (*websocket.PreparedMessage, error) {
	u.once.Do(func() { u.frame, u.err = websocket.NewPreparedMessage(websocket.TextMessage, u.json) })
	return u.frame, u.err
}

// Publish offers committed readings, in their order, to the connections that are subscribed to
// their sensors, gateways or types. It never blocks; a client that cannot keep up gets the latest
// reading of each sensor. Concurrent calls have no order among them.
func (h *Hub) Publish(rs []Reading) {
	for i := range rs {
		r := &rs[i]
		sensor := Topic{Kind: Sensors, ID: r.SensorID}
		h.mu.RLock()
		to := audience{h.topics[sensor], h.topics[Topic{Kind: Gateways, ID: r.GatewayID}]}
		if h.types > 0 {
			to[2] = h.topics[Topic{Kind: SensorTypes, Name: r.SensorType}]
		}
		h.mu.RUnlock()
		if n := to.size(); n > 0 {
			h.offer(&update{
				about:  sensor,
				at:     r.order(),
				single: n == 1,
				json:   appendReading(make([]byte, 0, 128), *r),
			}, to)
		}
	}
}

// PublishStatus offers s to the connections that are subscribed to its gateway or to all statuses.
// It never blocks.
func (h *Hub) PublishStatus(s Status) {
	gateway := Topic{Kind: Gateways, ID: s.GatewayID}
	h.mu.RLock()
	to := audience{h.topics[gateway], h.topics[Topic{Kind: Statuses}]}
	h.mu.RUnlock()
	if n := to.size(); n > 0 {
		h.offer(&update{
			about:  gateway,
			at:     order{at: s.At},
			single: n == 1,
			json:   appendStatus(nil, s),
		}, to)
	}
}

func (h *Hub) offer(u *update, to audience) {
	lost := 0
	to.each(func(c *conn, pace time.Duration) {
		if u.about.Kind != Sensors {
			pace = 0
		}
		if c.lane.offer(u, pace) {
			lost++
		}
	})
	if lost > 0 {
		h.metrics.dropped.Add(float64(lost))
	}
}
