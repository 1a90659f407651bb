package bufconn

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a connection whose writes wait until they are let through.
type gate struct {
	recorder
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.recorder.Write(p)
}

func (g *gate) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }
func (g *gate) Close() error                     { return nil }

func TestAutoFlush_GathersWritesDuringASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		c := NewAutoFlush(g)
		var want []byte
		for i := range 100 {
			want = append(want, byte(i))
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				synctest.Wait() // the first is being sent
			}
		}
		close(g.open)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(g.writes, nil); !bytes.Equal(got, want) || len(g.writes) != 2 {
			t.Errorf("got %v, want %v in 2 writes", g.writes, want)
		}
	})
}

func TestAutoFlush_AWriteReportsTheErrorOfAnEarlierSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		g := &gate{recorder: recorder{err: broken}, open: make(chan struct{})}
		close(g.open)
		c := NewAutoFlush(g)
		_, _ = c.Write([]byte("a"))
		synctest.Wait()
		if _, err := c.Write([]byte("b")); !errors.Is(err, broken) {
			t.Errorf("Write = %v, want %v", err, broken)
		}
		_ = c.Close()
	})
}
