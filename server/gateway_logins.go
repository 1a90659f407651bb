package server

import (
	"context"
	"sync"
	"time"
)

// gatewayLogins limits wrong secrets of gateways as attempts limit those of people, and apart from
// them: a gateway that is set up wrongly keeps no person out. One that has logged in from an
// address does not count against the limit of the address either, so that others behind the same
// address or proxy cannot keep it out.
type gatewayLogins struct {
	attempts attempts

	mu    sync.Mutex
	known map[attemptKeys]bool // have logged in from their address
}

func (g *gatewayLogins) keys(addr, key string) attemptKeys {
	k := keysOf(addr, "mqtt:"+key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known[k] {
		k.address = k.user + ":address"
	} else {
		k.address += ":mqtt"
	}
	return k
}

func (g *gatewayLogins) remember(addr, key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil || len(g.known) >= mostCounted {
		g.known = map[attemptKeys]bool{}
	}
	g.known[keysOf(addr, "mqtt:"+key)] = true
}

// BeginGatewayLogin counts a try of the gateway with this key to log in from addr, and returns 0,
// or how long it has to wait after too many wrong secrets.
func (a *Auth) BeginGatewayLogin(
	ctx context.Context, addr, key string,
) (wait time.Duration, err error) {
	return a.gateways.attempts.begin(ctx, a.gateways.keys(addr, key))
}

// EndGatewayLogin takes the try back: the secret was right, or it was not found out.
func (a *Auth) EndGatewayLogin(ctx context.Context, addr, key string, right bool) error {
	k := a.gateways.keys(addr, key)
	if !right {
		return a.gateways.attempts.undo(ctx, k)
	}
	a.gateways.remember(addr, key)
	return a.gateways.attempts.succeed(ctx, k)
}
