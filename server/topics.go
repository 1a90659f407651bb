package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

// Push returns what the hub has to ask of us: every user may listen to every sensor and gateway
// there is.
func (a *Auth) Push() push.Auth {
	return push.Auth{
		Authenticate: func(ctx context.Context, token string) (push.Identity, error) {
			p, err := a.Authenticate(ctx, token)
			if err != nil {
				return push.Identity{}, pushError(err)
			}
			return p.identity(), nil
		},
		Check: func(ctx context.Context, id push.Identity) error {
			_, err := a.sessions.alive(ctx, id.SessionID)
			if errors.Is(err, store.ErrNotFound) {
				return push.ErrNotAuthenticated
			}
			return err
		},
		Allow: a.allow,
	}
}

func (p *Principal) identity() push.Identity {
	return push.Identity{UserID: p.User.ID, SessionID: p.SessionID, Expires: p.Expires}
}

func pushError(err error) error {
	if p, ok := errors.AsType[*problem](err); ok && p.status == http.StatusUnauthorized {
		return push.ErrNotAuthenticated
	}
	return err
}

// allow gives push.ErrUnknownTopic to what is no sensor or gateway.
func (a *Auth) allow(ctx context.Context, _ push.Identity, names []string) []error {
	verdicts := make([]error, len(names))
	topics := make([]push.Topic, len(names))
	var sensors []int64
	var gateways []store.Ref
	for i, name := range names {
		topics[i], verdicts[i] = push.ParseTopic(name)
		switch topics[i].Kind {
		case push.Sensors:
			sensors = append(sensors, topics[i].ID)
		case push.Gateways:
			gateways = append(gateways, store.Ref{Gateway: strconv.FormatInt(topics[i].ID, 10)})
		}
	}
	unknown, err := a.store.UnknownSensors(ctx, sensors)
	points, err2 := a.store.Points(ctx, gateways)
	if err := errors.Join(err, err2); err != nil {
		for i := range verdicts {
			verdicts[i] = err
		}
		return verdicts
	}
	missing := make(map[int64]bool, len(unknown))
	for _, id := range unknown {
		missing[id] = true
	}
	for i, t := range topics {
		_, isGateway := points[store.Ref{Gateway: strconv.FormatInt(t.ID, 10)}]
		if t.Kind == push.Sensors && (missing[t.ID] || t.ID > math.MaxInt32) ||
			t.Kind == push.Gateways && !isGateway {
			verdicts[i] = push.ErrUnknownTopic
		}
	}
	return verdicts
}
