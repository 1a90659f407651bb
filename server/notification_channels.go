package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// Notifications are the functions of package notify that handlers call.
type Notifications struct {
	// TestChannel sends a test by a channel and returns its delivery.
	TestChannel func(ctx context.Context, channel int64) (store.Delivery, error)
	// CheckChannel returns the field at fault and why; both are empty for a valid channel.
	CheckChannel  func(store.Channel) (field, reason string)
	CheckTemplate func(string) error
}

// ListNotificationChannels answers GET /api/notifications/channels.
func (s *Server) ListNotificationChannels(
	ctx context.Context, req api.ListNotificationChannelsRequestObject,
) (api.ListNotificationChannelsResponseObject, error) {
	after, err := idCursor(req.Params.Cursor)
	if err != nil {
		return nil, err
	}
	list, err := s.store.Channels(ctx, after, *req.Params.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *req.Params.Limit,
		func(c store.Channel) string { return encodeID(c.ID) })
	return api.ListNotificationChannels200JSONResponse{
		Body:    mapSlice(list, channelJSON),
		Headers: api.ListNotificationChannels200ResponseHeaders{Link: link},
	}, nil
}

// CreateNotificationChannel answers POST /api/notifications/channels.
func (s *Server) CreateNotificationChannel(
	ctx context.Context, req api.CreateNotificationChannelRequestObject,
) (api.CreateNotificationChannelResponseObject, error) {
	b := req.Body
	c := store.Channel{
		Name:       b.Name,
		Kind:       store.ChannelKind(b.Kind),
		IsActive:   orTrue(b.IsActive),
		URL:        orZero(b.URL),
		Secret:     orZero(b.Secret),
		Recipients: orZero(b.Recipients),
	}
	if c.Kind == store.Webhook && c.Secret == "" {
		c.Secret = webhookSecret()
	}
	if err := s.checkChannel(c); err != nil {
		return nil, err
	}
	c, err := s.store.CreateChannel(ctx, c)
	if errors.Is(err, store.ErrConflict) {
		return nil, alreadyTaken("name", b.Name)
	}
	if err != nil {
		return nil, err
	}
	j := channelJSON(c)
	created := api.NotificationChannelWithSecret{
		ID:         j.ID,
		Name:       j.Name,
		Kind:       j.Kind,
		IsActive:   j.IsActive,
		Origin:     j.Origin,
		Recipients: j.Recipients,
		CreatedAt:  j.CreatedAt,
		UpdatedAt:  j.UpdatedAt,
		Secret:     nullable.NewNullNullable[string](),
	}
	if c.Kind == store.Webhook {
		created.Secret = nullable.NewNullableWithValue(c.Secret)
	}
	return api.CreateNotificationChannel201JSONResponse{
		Body: created,
		Headers: api.CreateNotificationChannel201ResponseHeaders{
			ETag:     etag(c.Version),
			Location: address(ctx, "/api/notifications/channels/%d", c.ID),
		},
	}, nil
}

// GetNotificationChannel answers GET /api/notifications/channels/{id}.
func (s *Server) GetNotificationChannel(
	ctx context.Context, req api.GetNotificationChannelRequestObject,
) (api.GetNotificationChannelResponseObject, error) {
	c, err := s.store.Channel(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetNotificationChannel200JSONResponse{
		Body:    channelJSON(c),
		Headers: api.GetNotificationChannel200ResponseHeaders{ETag: etag(c.Version)},
	}, nil
}

// UpdateNotificationChannel answers PUT /api/notifications/channels/{id}.
func (s *Server) UpdateNotificationChannel(
	ctx context.Context, req api.UpdateNotificationChannelRequestObject,
) (api.UpdateNotificationChannelResponseObject, error) {
	c, err := s.store.Channel(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := checkIfMatch(req.Params.IfMatch, c.Version); err != nil {
		return nil, err
	}
	b := req.Body
	setIfGiven(&c.Name, b.Name)
	setIfGiven(&c.IsActive, b.IsActive)
	setIfGiven(&c.URL, b.URL)
	setIfGiven(&c.Secret, b.Secret)
	if b.Recipients != nil {
		c.Recipients = *b.Recipients
	}
	if err := s.checkChannel(c); err != nil {
		return nil, err
	}
	c, err = s.store.UpdateChannel(ctx, c)
	if errors.Is(err, store.ErrConflict) {
		return nil, alreadyTaken("name", orZero(b.Name))
	}
	if err != nil {
		return nil, err
	}
	return api.UpdateNotificationChannel200JSONResponse{
		Body:    channelJSON(c),
		Headers: api.UpdateNotificationChannel200ResponseHeaders{ETag: etag(c.Version)},
	}, nil
}

// DeleteNotificationChannel answers DELETE /api/notifications/channels/{id}.
func (s *Server) DeleteNotificationChannel(
	ctx context.Context, req api.DeleteNotificationChannelRequestObject,
) (api.DeleteNotificationChannelResponseObject, error) {
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	err = s.store.DeleteChannel(ctx, req.ID, version)
	if errors.Is(err, store.ErrInUse) {
		return nil, &problem{
			status: http.StatusConflict,
			detail: "A route uses the channel; change or delete the route first.",
		}
	}
	if err != nil {
		return nil, err
	}
	return api.DeleteNotificationChannel204Response{}, nil
}

// TestNotificationChannel answers POST /api/notifications/channels/{id}/test.
func (s *Server) TestNotificationChannel(
	ctx context.Context, req api.TestNotificationChannelRequestObject,
) (api.TestNotificationChannelResponseObject, error) {
	d, err := s.notifications.TestChannel(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.TestNotificationChannel200JSONResponse(deliveryJSON(ctx)(d)), nil
}

// checkChannel refuses a channel without a property that its kind needs, or with one of another
// kind.
func (s *Server) checkChannel(c store.Channel) error {
	for _, f := range []struct {
		name  string
		given bool
		kind  store.ChannelKind
	}{
		{"url", c.URL != "", store.Webhook},
		{"secret", c.Secret != "", store.Webhook},
		{"recipients", len(c.Recipients) > 0, store.Email},
	} {
		switch {
		case f.given && c.Kind != f.kind:
			return invalid(f.name, fmt.Sprintf("belongs to a channel of kind %s", f.kind))
		case !f.given && c.Kind == f.kind:
			return invalid(f.name, fmt.Sprintf("is needed by a channel of kind %s", f.kind))
		}
	}
	if field, reason := s.notifications.CheckChannel(c); field != "" {
		return invalid(field, reason)
	}
	return nil
}

// webhookSecret returns a random secret of 256 bits, in the form of Standard Webhooks.
func webhookSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(b)
}

func channelJSON(c store.Channel) api.NotificationChannel {
	origin := ""
	if u, err := url.Parse(c.URL); err == nil && c.URL != "" {
		origin = u.Scheme + "://" + u.Host
	}
	return api.NotificationChannel{
		ID:         c.ID,
		Name:       c.Name,
		Kind:       api.NotificationChannelKind(c.Kind),
		IsActive:   c.IsActive,
		Origin:     origin,
		Recipients: orEmpty(c.Recipients),
		CreatedAt:  c.CreatedAt.UTC(),
		UpdatedAt:  c.UpdatedAt.UTC(),
	}
}
