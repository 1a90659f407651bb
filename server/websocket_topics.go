package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

// PushAuth lets the hub authenticate clients by a and check topics in st: every user may subscribe
// to every sensor and gateway that exists.
func PushAuth(a *auth.Auth, st *store.Store) push.Auth {
	return push.Auth{
		Authenticate: func(ctx context.Context, addr, token string) (push.Identity, error) {
			p, err := a.Authenticate(ctx, addr, token)
			if err != nil {
				return push.Identity{}, pushError(err)
			}
			return identity(p), nil
		},
		Check: func(ctx context.Context, id push.Identity) error {
			return pushError(a.CheckSession(ctx, id.SessionID))
		},
		Allow: func(ctx context.Context, _ push.Identity, names []string) []error {
			return checkTopics(ctx, st, names)
		},
	}
}

func identity(p *auth.Principal) push.Identity {
	id := push.Identity{UserID: p.User.ID, SessionID: p.SessionID, Expires: p.Expires}
	if p.Key != nil {
		id.APIKeyID = p.Key.ID
	}
	return id
}

func pushError(err error) error {
	for _, refused := range []error{
		auth.ErrInvalidToken, auth.ErrSessionEnded, auth.ErrInvalidAPIKey, auth.ErrExpiredAPIKey,
	} {
		if errors.Is(err, refused) {
			return push.ErrNotAuthenticated
		}
	}
	_, tooMany := errors.AsType[*auth.TooManyAttemptsError](err)
	_, over := errors.AsType[*auth.TooManyRequestsError](err)
	if tooMany || over {
		return fmt.Errorf("%w: %w", push.ErrOverLimit, err)
	}
	return err
}

// checkTopics returns nil for each topic that exists, else push.ErrUnknownTopic.
func checkTopics(ctx context.Context, st *store.Store, names []string) []error {
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
	unknown, err := st.UnknownSensors(ctx, sensors)
	points, err2 := st.SensorInfos(ctx, gateways)
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
