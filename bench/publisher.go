package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// fleet publishes as many gateways at once, at the lowest cost: it shares the machine with the
// service.
type fleet struct {
	addrs   []string // gateways connect to these in turn
	o       options
	points  int  // readings in a message
	sensors int  // of a gateway, which publish messages with one reading in turn; 0: 1
	rate    int  // messages a second of all together; 0: as fast as it goes
	version int  // of the run, below 24: its timestamps begin where the one before ended
	now     bool // they begin now instead
	poison  int  // one message in so many is malformed; 0: none

	sent, acked, refused atomic.Int64
	latencies            []*histogram
	reason               string        // of the first refusal
	inTime               int64         // acknowledged within the duration, refused ones too
	stored               int64         // those of them that were not refused
	cpu                  time.Duration // of the service and its database
}

// run publishes for the duration, then waits for pending acknowledgements.
func (f *fleet) run(ctx context.Context, keys []string, secrets []string) error {
	ctx, cancel := context.WithTimeout(ctx, f.o.duration)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(keys))
	f.latencies = make([]*histogram, len(keys))
	for i, key := range keys {
		f.latencies[i] = &histogram{}
		wg.Go(func() { errs[i] = f.publish(ctx, i, key, secrets[i]) })
	}
	<-ctx.Done()
	f.inTime = f.acked.Load() + f.refused.Load()
	f.stored = f.acked.Load()
	wg.Wait()
	return cmp.Or(errs...)
}

// publish publishes as one gateway.
func (f *fleet) publish(ctx context.Context, n int, key, secret string) error {
	conn, err := dialMQTT(f.addrs[n%len(f.addrs)], key, secret, uint16(f.o.window))
	if err != nil {
		return fmt.Errorf("gateway %s: %w", key, err)
	}
	defer conn.Close()
	slots := make(chan struct{}, max(f.o.window/f.points, 10))
	sentAt := make([]int64, 1<<16)
	read := make(chan error, 1)
	go func() { read <- f.acknowledged(conn, slots, sentAt, f.latencies[n]) }()

	messages := make([]*message, max(f.sensors, 1))
	for i := range messages {
		messages[i] = newMessage(key, i+1, f.points, f.version)
		if f.now {
			messages[i].at = time.Now().UTC()
		}
	}
	out := bufio.NewWriterSize(conn, 64<<10)
	next := time.Now()
	if f.rate > 0 { // the gateways in turn
		next = next.Add(time.Duration(n) * time.Second / time.Duration(f.rate))
	}
	id := uint16(0)
	for ctx.Err() == nil {
		if f.rate > 0 {
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				continue
			}
			next = next.Add(
				time.Duration(len(f.latencies)) * time.Second / time.Duration(f.rate))
		}
		select {
		case slots <- struct{}{}:
		default: // what is written has to be acknowledged first
			if err := out.Flush(); err != nil {
				return err
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				continue
			}
		}
		if id++; id == 0 {
			id = 1
		}
		sentAt[id] = time.Now().UnixNano()
		m := messages[int(id)%len(messages)]
		m.spoil(f.poison > 0 && int(id)%f.poison == 0)
		if _, err := out.Write(m.next(id)); err != nil {
			return err
		}
		f.sent.Add(1)
		if f.rate > 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); len(slots) > 0 &&
		time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	_ = conn.Close()
	if err := <-read; len(slots) > 0 {
		return fmt.Errorf("gateway %s: %d messages were not acknowledged: %w", key, len(slots), err)
	}
	return nil
}

// acknowledged reads PUBACKs until the connection ends.
func (f *fleet) acknowledged(
	conn net.Conn, slots <-chan struct{}, sentAt []int64, h *histogram,
) error {
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		kind, body, err := readPacket(in)
		if err != nil {
			return err
		}
		if kind>>4 != 4 || len(body) < 2 {
			continue
		}
		h.add(time.Duration(time.Now().UnixNano() - sentAt[binary.BigEndian.Uint16(body)]))
		if len(body) > 2 && body[2] != 0 {
			if f.refused.Add(1) == 1 {
				f.reason = fmt.Sprintf("%#x %q", body[2], body[3:])
			}
		} else {
			f.acked.Add(1)
		}
		<-slots
	}
}

// message is a PUBLISH that is changed in place for the next reading.
type message struct {
	packet []byte
	id     int   // where the packet id stands
	stamps []int // where the timestamps stand
	at     time.Time
}

// spoil makes the message malformed, by the wrong case of a member name, or well-formed again.
func (m *message) spoil(yes bool) {
	const value = `"value":21.5,"timestamp":"`
	at := m.stamps[len(m.stamps)-1] - len(value) + 1
	m.packet[at] = 'v'
	if yes {
		m.packet[at] = 'V'
	}
}

const stampLayout = "2006-01-02T15:04:05.000Z"

// newMessage returns a PUBLISH at QoS 1 with one reading, on the topic of a sensor, or with points
// readings of different sensors, on the topic of the gateway.
func newMessage(key string, sensor, points, version int) *message {
	m := &message{
		at: time.Now().UTC().Truncate(24 * time.Hour).Add(time.Duration(version-24) * time.Hour),
	}
	topic, payload := fmt.Sprintf("sensors/%s/s%d/data", key, sensor), []byte{}
	reading := func(name string) {
		payload = append(payload, '{')
		payload = append(payload, name...)
		payload = append(payload, `"value":21.5,"timestamp":"`...)
		m.stamps = append(m.stamps, len(payload))
		payload = append(payload, stampLayout...)
		payload = append(payload, `","quality":"good"}`...)
	}
	if points == 1 {
		reading("")
	} else {
		topic = "gateways/" + key + "/data"
		for i := range points {
			payload = append(payload, "[,"[min(i, 1)])
			reading(fmt.Sprintf(`"sensor":"s%d",`, i+1))
		}
		payload = append(payload, ']')
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	body = append(body, topic...)
	id := len(body)
	body = append(body, 0, 0, 0) // packet id, no properties
	head := binary.AppendUvarint([]byte{0x32}, uint64(len(body)+len(payload)))
	m.id = len(head) + id
	for i := range m.stamps {
		m.stamps[i] += len(head) + len(body)
	}
	m.packet = append(append(head, body...), payload...)
	return m
}

// next returns the packet with this id and the next instant.
func (m *message) next(id uint16) []byte {
	binary.BigEndian.PutUint16(m.packet[m.id:], id)
	m.at = m.at.Add(time.Millisecond)
	var buf [40]byte // formatting needs more room than its result
	stamp := m.at.AppendFormat(buf[:0], stampLayout)
	for _, at := range m.stamps {
		copy(m.packet[at:], stamp)
	}
	return m.packet
}

// dialMQTT connects with MQTT v5; receiveMaximum bounds the unacknowledged messages of the broker.
func dialMQTT(addr, key, secret string, receiveMaximum uint16) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	body := text(nil, "MQTT")
	// version, user name and password and clean start, keep alive
	body = append(body, 5, 0xC2, 0, 60)
	body = append(body, 3, 0x21) // properties: receive maximum
	body = binary.BigEndian.AppendUint16(body, receiveMaximum)
	body = text(text(text(body, key), key), secret)
	if _, err := conn.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))),
		body...)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// nothing follows a CONNACK before we send more
	kind, ack, err := readPacket(bufio.NewReaderSize(conn, 16))
	if err == nil && (kind>>4 != 2 || len(ack) < 2 || ack[1] != 0) {
		err = fmt.Errorf("it was refused: % x", ack)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// readPacket reads one MQTT packet.
func readPacket(in *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return 0, nil, err
	}
	if body, err = in.Peek(int(n)); err == nil { // small ones need no copy: they are used at once
		_, err = in.Discard(int(n))
		return kind, body, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(in, body)
	return kind, body, err
}
