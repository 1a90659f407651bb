package push

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

func TestHandshakes_AreRateLimited(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HandshakesPerSecond, cfg.HandshakeBurst = 1, 3
	w := overTCP(t, cfg)
	for range 3 {
		w.subscribe("ann")
	}
	_, res, err := websocket.DefaultDialer.Dial(w.url, nil)
	if err == nil || res.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("got %v, want 429", res)
	}
	if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), errHandshakes.Error()) {
		t.Errorf("got %q, want %q", body, errHandshakes)
	}
	// a request without a handshake does not count
	if plain, err := http.Get("http" + w.url[2:]); err != nil ||
		plain.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %v, %v; want 426", plain, err)
	} else {
		plain.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
