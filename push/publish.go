package push

import "time"

// Publish offers committed readings, in their order, to the connections that are subscribed to
// their sensors, gateways or types. It never blocks; a client that cannot keep up gets the latest
// reading of each sensor. Concurrent calls have no order among them.
func (h *Hub) Publish(rs []Reading) {
	for i := range rs {
		r := &rs[i]
		sensor := Topic{Kind: Sensors, ID: r.SensorID}
		h.mu.RLock()
		to := recipients{
			h.subscriptions[sensor],
			h.subscriptions[Topic{Kind: Gateways, ID: r.GatewayID}],
		}
		if h.typeSubscriptions > 0 {
			to[2] = h.subscriptions[Topic{Kind: SensorTypes, Name: r.SensorType}]
		}
		h.mu.RUnlock()
		if n := to.size(); n > 0 {
			h.offer(&update{
				about:  sensor,
				at:     r.order(),
				single: n == 1,
				json:   appendReading(make([]byte, 0, 192), *r),
			}, to)
		}
	}
}

// PublishStatus offers s to the connections that are subscribed to its gateway or to all statuses.
// It never blocks.
func (h *Hub) PublishStatus(s Status) {
	gateway := Topic{Kind: Gateways, ID: s.GatewayID}
	h.mu.RLock()
	to := recipients{h.subscriptions[gateway], h.subscriptions[Topic{Kind: Statuses}]}
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

func (h *Hub) offer(u *update, to recipients) {
	lost := 0
	to.each(func(c *conn, interval time.Duration) {
		if u.about.Kind != Sensors {
			interval = 0
		}
		if c.outbox.offer(u, interval) {
			lost++
		}
	})
	if lost > 0 {
		h.metrics.dropped.Add(float64(lost))
	}
}

// ReadAlarms says that the alarm log may have grown. The hub reads it and sends new events to
// subscribers. ReadAlarms never blocks.
func (h *Hub) ReadAlarms() {
	select {
	case h.alarms.hint <- struct{}{}:
	default:
	}
}

// ReadingsMissed tells all clients with topics of readings that readings of other instances may be
// missing.
func (h *Hub) ReadingsMissed() {
	frame := encode(resyncFrame{
		Type:   "resync",
		Scope:  "readings",
		Reason: "readings that other instances stored may be missing",
	})
	for _, c := range h.connections() {
		if c.hasReadingTopics() && !c.outbox.reply(frame) {
			c.end(CloseTryLater, "answers are not being taken")
		}
	}
}
