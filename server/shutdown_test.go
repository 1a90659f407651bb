package server_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

func TestStop_LetsRunningRequestsEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, func(_ *config, d *server.Deps) {
		d.Write = func(context.Context, []store.Reading) ([]store.ReadingResult, error) {
			close(entered)
			<-leave
			return []store.ReadingResult{{Outcome: store.Stored}}, nil
		}
	})
	token := s.token(s.users[store.Engineer])
	answered := make(chan answer, 1)
	go func() {
		answered <- s.send("POST", "/api/data", token,
			`{"readings":[{"sensor_id":1,"value":1}]}`)
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	within(t, 2*time.Second, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case <-stopped:
		t.Error("it stopped with a request running")
	default:
	}
	close(leave)
	if res := <-answered; res.StatusCode != 200 {
		t.Errorf("the running request: got %d: %s", res.StatusCode, res.body)
	}
	<-stopped
}

func TestStop_WaitsForALimitedTime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, func(c *config, d *server.Deps) {
		c.DrainTimeout = 200 * time.Millisecond
		d.Write = func(context.Context, []store.Reading) ([]store.ReadingResult, error) {
			close(entered)
			<-leave
			return nil, nil
		}
	})
	defer close(leave)
	token := s.token(s.users[store.Engineer])
	req, _ := http.NewRequest("POST", s.url+"/api/data",
		strings.NewReader(`{"readings":[{"sensor_id":1,"value":1}]}`))
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
	}
	cut := make(chan error, 1)
	go func() {
		res, err := s.http.Do(req)
		if err == nil {
			res.Body.Close()
		}
		cut <- err
	}()
	<-entered
	s.stop() // while it hangs
	if err := <-cut; err == nil {
		t.Error("the request that hangs was answered")
	}
}
