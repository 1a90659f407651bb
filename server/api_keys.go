package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

// ListAPIKeys answers GET /api/api-keys.
func (s *Server) ListAPIKeys(
	ctx context.Context, req api.ListAPIKeysRequestObject,
) (api.ListAPIKeysResponseObject, error) {
	p := req.Params
	after, err := idCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	f := store.APIKeyFilter{
		Name:        p.Name,
		Prefix:      p.Prefix,
		CreatedBy:   p.CreatedBy,
		Role:        (*store.Role)(p.Role),
		IsExpired:   p.IsExpired,
		UnusedSince: p.UnusedSince,
	}
	list, err := s.store.APIKeys(ctx, f, after, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit, func(k store.APIKey) string { return encodeID(k.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountAPIKeys, f)
	if err != nil {
		return nil, err
	}
	return api.ListAPIKeys200JSONResponse{
		Body:    mapSlice(list, apiKeyJSON),
		Headers: api.ListAPIKeys200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// CreateAPIKey answers POST /api/api-keys.
func (s *Server) CreateAPIKey(
	ctx context.Context, req api.CreateAPIKeyRequestObject,
) (api.CreateAPIKeyResponseObject, error) {
	b := req.Body
	if err := checkExpiry(b.ExpiresAt); err != nil {
		return nil, err
	}
	secret, prefix := auth.NewAPIKey()
	k, err := s.store.CreateAPIKey(ctx, store.APIKey{
		Name:              b.Name,
		Prefix:            prefix,
		Role:              store.Role(b.Role),
		RequestsPerMinute: valueOrNil(b.RequestsPerMinute),
		ExpiresAt:         valueOrNil(b.ExpiresAt),
		CreatedBy:         &callOf(ctx).principal.User.Username,
	}, secret)
	if err != nil {
		return nil, apiKeyProblem(err, b.Name)
	}
	s.logAPIKeyChange(ctx, "created", k)
	shown := apiKeyJSON(k)
	return api.CreateAPIKey201JSONResponse{
		Body: api.APIKeyWithSecret{
			ID:                shown.ID,
			Name:              shown.Name,
			Prefix:            shown.Prefix,
			Key:               secret,
			Role:              shown.Role,
			RequestsPerMinute: shown.RequestsPerMinute,
			ExpiresAt:         shown.ExpiresAt,
			CreatedBy:         shown.CreatedBy,
			CreatedAt:         shown.CreatedAt,
			UpdatedAt:         shown.UpdatedAt,
			LastUsedAt:        shown.LastUsedAt,
			LastUsedFrom:      shown.LastUsedFrom,
		},
		Headers: api.CreateAPIKey201ResponseHeaders{
			ETag:     etag(k.Version),
			Location: address(ctx, "/api/api-keys/%d", k.ID),
		},
	}, nil
}

// GetCurrentAPIKey answers GET /api/api-keys/current.
func (s *Server) GetCurrentAPIKey(
	ctx context.Context, _ api.GetCurrentAPIKeyRequestObject,
) (api.GetCurrentAPIKeyResponseObject, error) {
	p := callOf(ctx).principal
	if p.Key == nil {
		return nil, &problem{
			status: http.StatusNotFound,
			detail: "The request is made with an access token, not with an API key.",
		}
	}
	k, err := s.store.APIKey(ctx, p.Key.ID)
	if err != nil {
		return nil, err
	}
	return api.GetCurrentAPIKey200JSONResponse(apiKeyJSON(k)), nil
}

// GetAPIKey answers GET /api/api-keys/{id}.
func (s *Server) GetAPIKey(
	ctx context.Context, req api.GetAPIKeyRequestObject,
) (api.GetAPIKeyResponseObject, error) {
	k, err := s.store.APIKey(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetAPIKey200JSONResponse{APIKeyWithETagJSONResponse: apiKeyWithETag(k)}, nil
}

// UpdateAPIKey answers PUT /api/api-keys/{id}.
func (s *Server) UpdateAPIKey(
	ctx context.Context, req api.UpdateAPIKeyRequestObject,
) (api.UpdateAPIKeyResponseObject, error) {
	b := req.Body
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := checkExpiry(b.ExpiresAt); err != nil {
		return nil, err
	}
	k, err := s.store.UpdateAPIKey(ctx, req.ID, version, store.APIKeyChange{
		Name:              b.Name,
		Role:              (*store.Role)(b.Role),
		RequestsPerMinute: changed(b.RequestsPerMinute),
		ExpiresAt:         changed(b.ExpiresAt),
	})
	if err != nil {
		return nil, apiKeyProblem(err, orZero(b.Name))
	}
	s.auth.ForgetAPIKey(k.Prefix)
	s.logAPIKeyChange(ctx, "changed", k)
	return api.UpdateAPIKey200JSONResponse{APIKeyWithETagJSONResponse: apiKeyWithETag(k)}, nil
}

// RevokeAPIKey answers DELETE /api/api-keys/{id}.
func (s *Server) RevokeAPIKey(
	ctx context.Context, req api.RevokeAPIKeyRequestObject,
) (api.RevokeAPIKeyResponseObject, error) {
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	k, err := s.store.DeleteAPIKey(ctx, req.ID, version)
	if err != nil {
		return nil, err
	}
	s.auth.ForgetAPIKey(k.Prefix)
	s.hub.EndSession(k.Prefix)
	s.logAPIKeyChange(ctx, "revoked", k)
	return api.RevokeAPIKey204Response{}, nil
}

// checkExpiry refuses a new expiry that has passed.
func checkExpiry(at nullable.Nullable[time.Time]) error {
	if v := valueOrNil(at); v != nil && !v.After(time.Now()) {
		return invalid("expires_at", "has passed; use an instant to come, or revoke the key")
	}
	return nil
}

func apiKeyProblem(err error, name string) error {
	if _, ok := errors.AsType[*store.ConflictError](err); ok {
		return alreadyTaken("name", name)
	}
	return err
}

func apiKeyJSON(k store.APIKey) api.APIKey {
	return api.APIKey{
		ID:                k.ID,
		Name:              k.Name,
		Prefix:            k.Prefix,
		Role:              api.Role(k.Role),
		RequestsPerMinute: orNull(k.RequestsPerMinute),
		ExpiresAt:         timeOrNull(k.ExpiresAt),
		CreatedBy:         orNull(k.CreatedBy),
		CreatedAt:         k.CreatedAt.UTC(),
		UpdatedAt:         k.UpdatedAt.UTC(),
		LastUsedAt:        timeOrNull(k.LastUsedAt),
		LastUsedFrom:      orNull(k.LastUsedFrom),
	}
}

func apiKeyWithETag(k store.APIKey) api.APIKeyWithETagJSONResponse {
	return api.APIKeyWithETagJSONResponse{
		Body:    apiKeyJSON(k),
		Headers: api.APIKeyWithETagResponseHeaders{ETag: etag(k.Version)},
	}
}

// logAPIKeyChange logs which user changed which API key.
func (s *Server) logAPIKeyChange(ctx context.Context, action string, k store.APIKey) {
	s.log.LogAttrs(ctx, slog.LevelInfo, "api key changed", slog.String("action", action),
		slog.Int64("api_key_id", k.ID), slog.String("prefix", k.Prefix),
		slog.String("role", string(k.Role)),
		slog.Int64("by_user_id", callOf(ctx).principal.User.ID))
}
