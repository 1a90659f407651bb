package ingest

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// gathered is a connection that reads ahead and gathers small writes. paho reads a packet in three
// steps and writes every acknowledgement by itself; without this each of them would be a system
// call.
//
// Locking it keeps the parts of a packet together, as paho does with a connection that is a
// sync.Locker.
type gathered struct {
	net.Conn
	sync.Mutex
	in      *bufio.Reader
	wake    chan struct{}
	ended   chan struct{}
	flushed sync.WaitGroup
	end     sync.Once

	buf sync.Mutex
	out []byte // written, but not sent
	err error  // of a send; the next write returns it

	sending sync.Mutex
	spare   []byte // takes turns with out
}

const (
	maxGathered  = 64 << 10 // from here on a write waits for the network
	closeTimeout = time.Second
)

func gather(conn net.Conn) net.Conn {
	g := &gathered{
		Conn:  conn,
		in:    bufio.NewReaderSize(conn, 64<<10),
		wake:  make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	g.flushed.Go(func() {
		for {
			select {
			case <-g.wake:
				g.send()
			case <-g.ended:
				return
			}
		}
	})
	return g
}

// Read reads what has come.
func (g *gathered) Read(b []byte) (int, error) { return g.in.Read(b) }

// Write returns before b is sent, which is soon. An error is that of an earlier write.
func (g *gathered) Write(b []byte) (int, error) {
	g.buf.Lock()
	g.out = append(g.out, b...)
	n, err := len(g.out), g.err
	g.buf.Unlock()
	switch {
	case err != nil:
		return 0, err
	case n >= maxGathered:
		g.send()
	default:
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

// send sends what was written; more may be written meanwhile.
func (g *gathered) send() {
	g.sending.Lock()
	defer g.sending.Unlock()
	g.buf.Lock()
	out, err := g.out, g.err
	g.out = g.spare[:0]
	g.buf.Unlock()
	if len(out) > 0 && err == nil {
		_, err = g.Conn.Write(out)
	}
	g.spare = out
	g.buf.Lock()
	g.err = err
	g.buf.Unlock()
}

// Close sends what was written, unless the other end takes nothing, and closes the connection.
func (g *gathered) Close() error {
	var err error
	g.end.Do(func() {
		err = g.SetWriteDeadline(time.Now().Add(closeTimeout))
		close(g.ended)
		g.flushed.Wait()
		g.send()
		err = errors.Join(err, g.Conn.Close())
	})
	return err
}
