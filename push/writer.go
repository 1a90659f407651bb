package push

import (
	"errors"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/bufconn"
)

const (
	writeWithin = 30 * time.Second      // for the client to take one load
	gatherFor   = 20 * time.Millisecond // between batches
	chunk       = 64                    // updates written before answers have their turn again
	frameHeader = 4                     // bytes before the text of most frames
)

// write sends what comes into the lane, until that is seldom or the connection ends; then the close
// frame.
func (c *conn) write() {
	room := make([]*update, chunk)
	for {
		for !c.hasEnded() {
			l := c.lane.take(room)
			if l.empty() {
				if _, lacking := c.lane.missing(); !lacking {
					break
				}
				found := false
				if apart(func() { found = c.fetch() }); found {
					continue
				}
				break
			}
			c.send(l)
			if n := len(l.updates); n > 0 && n < chunk && c.batch.Load() {
				c.pause()
			}
		}
		if c.hasEnded() {
			c.part()
			return
		}
		if c.lane.leave() {
			return
		}
		select {
		case <-c.ended:
		case <-c.lane.wake:
		}
	}
}

// pause lets updates gather for the next batch: for a while, until there are enough of them, or an
// answer waits.
func (c *conn) pause() {
	c.lane.gather(true)
	defer c.lane.gather(false)
	select {
	case <-c.ended:
	case <-c.lane.wake:
	case <-time.After(gatherFor):
	}
}

// send writes l, or ends the connection. A client that takes what it had no room for is alive, if
// slow.
func (c *conn) send(l load) {
	begin := time.Now()
	c.writing.Store(true)
	defer c.writing.Store(false)
	if err := c.ship(l, begin.Add(writeWithin)); err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			c.end(CloseTryLater, "took nothing for "+writeWithin.String())
		} else {
			c.end(websocket.CloseAbnormalClosure, "the connection broke")
		}
		return
	}
	if time.Since(begin) > time.Second {
		c.hear()
	}
}

// ship puts the frames of l on the wire, together where there are several.
func (c *conn) ship(l load, deadline time.Time) (err error) {
	_ = c.ws.SetWriteDeadline(deadline) // only remembered, for each frame
	if frames, size := l.extent(); frames > 1 {
		c.wire.Hold(size)
		defer func() { err = errors.Join(err, c.wire.Flush()) }()
	}
	for _, reply := range l.replies {
		if err := c.text(reply); err != nil {
			return err
		}
	}
	if l.pong != nil {
		if err := c.ws.WriteControl(websocket.PongMessage, []byte(*l.pong), deadline); err != nil {
			return err
		}
	}
	if l.ping {
		if err := c.ws.WriteControl(websocket.PingMessage, nil, deadline); err != nil {
			return err
		}
	}
	for _, event := range l.alarms {
		if err := c.update(event); err != nil {
			return err
		}
	}
	if l.dropped > 0 {
		if err := c.text(encode(laggedFrame{Type: "lagged", Dropped: l.dropped})); err != nil {
			return err
		}
	}
	return c.updates(l.updates)
}

// extent returns how many frames l has, but for pings and what was dropped, and about how many
// bytes they take on the wire.
func (l load) extent() (frames, size int) {
	for _, reply := range l.replies {
		size += len(reply) + frameHeader
	}
	for _, us := range [][]*update{l.alarms, l.updates} {
		for _, u := range us {
			size += len(u.json) + frameHeader
		}
	}
	return len(l.replies) + len(l.alarms) + len(l.updates), size
}

// updates writes us in their order: each by itself, or for a batch client the readings that stand
// together as one frame.
func (c *conn) updates(us []*update) error {
	batch := c.batch.Load()
	for len(us) > 0 {
		n := 0
		for batch && n < len(us) && us[n].about.Kind == Sensors {
			n++
		}
		var err error
		switch {
		case n > 0:
			buf := bufconn.Borrow(batchExtent(us[:n]))
			*buf = appendBatch(*buf, us[:n])
			err = c.text(*buf)
			bufconn.Release(buf)
		default:
			n = 1
			err = c.update(us[0])
		}
		if err != nil {
			return err
		}
		us = us[n:]
	}
	return nil
}

func (c *conn) update(u *update) error {
	if u.single {
		return c.text(u.json)
	}
	frame, err := u.prepared()
	if err != nil {
		return err
	}
	c.hub.metrics.frames.Inc()
	return c.ws.WritePreparedMessage(frame)
}

func (c *conn) text(frame []byte) error {
	c.hub.metrics.frames.Inc()
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// part sends the answers that still wait, and the close frame; no more updates, the client may have
// lost its right to them.
func (c *conn) part() {
	if c.code == websocket.CloseAbnormalClosure {
		return // nobody is there
	}
	deadline := time.Now().Add(partWithin)
	if err := c.ship(load{replies: c.lane.take(nil).replies}, deadline); err == nil {
		_ = c.ws.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(c.code, c.reason), deadline)
	}
}
