package push

import (
	"errors"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/bufconn"
)

const (
	writeTimeout = 30 * time.Second      // for the client to take one batch
	batchDelay   = 20 * time.Millisecond // between two batches of a client that batches readings
	chunkSize    = 64                    // updates written before answers have their turn again
	frameHeader  = 4                     // bytes before the text of most frames
)

// write sends what waits in the outbox until that is rare or the connection ends. At the end of the
// connection it sends the close frame.
func (c *conn) write() {
	room := make([]*update, chunkSize)
	for {
		for !c.hasEnded() {
			b := c.outbox.take(room)
			if b.isEmpty() {
				if _, missing := c.outbox.missingAlarms(); !missing {
					break
				}
				found := false
				if runOnOwnStack(func() { found = c.fetchAlarms() }); found {
					continue
				}
				break
			}
			c.sendBatch(b)
			if n := len(b.updates); n > 0 && n < chunkSize && c.batchReadings.Load() {
				c.gather()
			}
		}
		if c.hasEnded() {
			c.sendClose()
			return
		}
		if c.outbox.stopWriter() {
			return
		}
		select {
		case <-c.ended:
		case <-c.outbox.wake:
		}
	}
}

// gather waits for the updates of the next batch: for batchDelay, until there is a chunk of them or
// an answer waits.
func (c *conn) gather() {
	c.outbox.setGathering(true)
	defer c.outbox.setGathering(false)
	select {
	case <-c.ended:
	case <-c.outbox.wake:
	case <-time.After(batchDelay):
	}
}

// sendBatch sends b, or ends the connection. A client that takes a batch slowly is alive.
func (c *conn) sendBatch(b batch) {
	begin := time.Now()
	c.writing.Store(true)
	defer c.writing.Store(false)
	if err := c.writeBatch(b, begin.Add(writeTimeout)); err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			c.end(CloseTryLater, "took nothing for "+writeTimeout.String())
		} else {
			c.end(websocket.CloseAbnormalClosure, "the connection broke")
		}
		return
	}
	if time.Since(begin) > time.Second {
		c.touch()
	}
}

// writeBatch writes the frames of b, several of them in one system call.
func (c *conn) writeBatch(b batch, deadline time.Time) (err error) {
	_ = c.ws.SetWriteDeadline(deadline) // the library sets it with each frame
	if frames, size := b.extent(); frames > 1 {
		c.netConn.Hold(size)
		defer func() { err = errors.Join(err, c.netConn.Flush()) }()
	}
	for _, reply := range b.replies {
		if err := c.writeText(reply); err != nil {
			return err
		}
	}
	if b.pong != nil {
		if err := c.ws.WriteControl(websocket.PongMessage, []byte(*b.pong), deadline); err != nil {
			return err
		}
	}
	if b.ping {
		if err := c.ws.WriteControl(websocket.PingMessage, nil, deadline); err != nil {
			return err
		}
	}
	for _, event := range b.alarms {
		if err := c.writeUpdate(event); err != nil {
			return err
		}
	}
	if b.dropped > 0 {
		lagged := encode(laggedFrame{Type: "lagged", Dropped: b.dropped})
		if err := c.writeText(lagged); err != nil {
			return err
		}
	}
	return c.writeUpdates(b.updates)
}

// extent returns the number of frames of b, without pings and lagged, and about how many bytes they
// have.
func (b batch) extent() (frames, size int) {
	for _, reply := range b.replies {
		size += len(reply) + frameHeader
	}
	for _, us := range [][]*update{b.alarms, b.updates} {
		for _, u := range us {
			size += len(u.json) + frameHeader
		}
	}
	return len(b.replies) + len(b.alarms) + len(b.updates), size
}

// writeUpdates writes us in order: each in a frame of its own, or consecutive readings in one frame
// if the client batches readings.
func (c *conn) writeUpdates(us []*update) error {
	batching := c.batchReadings.Load()
	for len(us) > 0 {
		n := 0
		for batching && n < len(us) && us[n].about.Kind == Sensors {
			n++
		}
		var err error
		switch {
		case n > 0:
			buf := bufconn.Borrow(readingBatchSize(us[:n]))
			*buf = appendReadingBatch(*buf, us[:n])
			err = c.writeText(*buf)
			bufconn.Release(buf)
		default:
			n = 1
			err = c.writeUpdate(us[0])
		}
		if err != nil {
			return err
		}
		us = us[n:]
	}
	return nil
}

func (c *conn) writeUpdate(u *update) error {
	if u.single {
		return c.writeText(u.json)
	}
	frame, err := u.prepared()
	if err != nil {
		return err
	}
	c.hub.metrics.frames.Inc()
	return c.ws.WritePreparedMessage(frame)
}

func (c *conn) writeText(frame []byte) error {
	c.hub.metrics.frames.Inc()
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// sendClose sends the answers that still wait, and the close frame. It sends no updates: the client
// may have lost its right to them.
func (c *conn) sendClose() {
	if c.code == websocket.CloseAbnormalClosure {
		return // the client cannot be reached
	}
	deadline := time.Now().Add(closeTimeout)
	answers := batch{replies: c.outbox.take(nil).replies}
	if err := c.writeBatch(answers, deadline); err == nil {
		_ = c.ws.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(c.code, c.reason), deadline)
	}
}
