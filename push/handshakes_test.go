package push

import (
	"errors"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
)

func TestHandshakesAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HandshakesPerSecond, cfg.HandshakeBurst = 1, 3
	refusals := 0
	w := overTCPWith(t, cfg, func(h *Hub) {
		h.Refuse = func(rw http.ResponseWriter, _ *http.Request, status int, reason error) {
			if errors.Is(reason, errHandshakes) {
				refusals++
			}
			http.Error(rw, reason.Error(), status)
		}
	})
	for range 3 {
		w.listener("ann")
	}
	_, res, err := websocket.DefaultDialer.Dial(w.url, nil)
	if err == nil || res.StatusCode != http.StatusTooManyRequests ||
		res.Header.Get("Retry-After") == "" {
		t.Fatalf("got %v, want 429 and when to come again", res)
	}
	// no handshake
	if plain, err := http.Get("http" + w.url[2:]); err != nil ||
		plain.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %v, %v; want 426", plain, err)
	} else {
		plain.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	if refusals != 1 {
		t.Errorf("%d refusals were answered for their number, want 1", refusals)
	}
}
