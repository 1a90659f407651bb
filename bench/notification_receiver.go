package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// receiver receives notifications by a webhook.
type receiver struct {
	*httptest.Server
	mu            sync.Mutex
	count, alarms int
}

func startReceiver() *receiver {
	n := new(receiver)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Count int }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n.mu.Lock()
		n.count, n.alarms = n.count+1, n.alarms+body.Count
		n.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	return n
}

// subscribe has a service send notifications of every alarm here, grouped by default.
func (n *receiver) subscribe(ctx context.Context, s *service, token string) error {
	if err := s.create(ctx, token, "/api/notifications/channels",
		fmt.Sprintf(`{"name":"bench","kind":"webhook","url":%q}`, n.URL)); err != nil {
		return err
	}
	return s.create(ctx, token, "/api/notifications/routes", `{"name":"all","channel_id":1}`)
}

// wait waits until alarms are notified, at most for timeout, and returns the numbers of
// notifications and alarms.
func (n *receiver) wait(alarms int, timeout time.Duration) (int, int) {
	for end := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
		n.mu.Lock()
		count, got := n.count, n.alarms
		n.mu.Unlock()
		if got >= alarms || time.Now().After(end) {
			return count, got
		}
	}
}

// create posts body to create a resource.
func (s *service) create(ctx context.Context, token, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.api+path,
		bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	return check(res.StatusCode == http.StatusCreated, "POST "+path+": "+res.Status)
}
