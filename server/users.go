package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

// ListUsers answers GET /api/users.
func (s *Server) ListUsers(
	ctx context.Context, req api.ListUsersRequestObject,
) (api.ListUsersResponseObject, error) {
	p := req.Params
	after, err := idCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	f := store.UserFilter{Username: p.Username, Role: (*store.Role)(p.Role), IsActive: p.IsActive}
	list, err := s.store.Users(ctx, f, after, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit, func(u store.User) string { return encodeID(u.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountUsers, f)
	if err != nil {
		return nil, err
	}
	return api.ListUsers200JSONResponse{
		Body:    mapSlice(list, userJSON),
		Headers: api.ListUsers200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

// CreateUser answers POST /api/users.
func (s *Server) CreateUser(
	ctx context.Context, req api.CreateUserRequestObject,
) (api.CreateUserResponseObject, error) {
	b := req.Body
	if err := checkUsername(&b.Username); err != nil {
		return nil, err
	}
	hash, err := s.auth.HashPassword(ctx, b.Password)
	if err != nil {
		return nil, err
	}
	u, err := s.store.CreateUser(ctx, store.User{
		Username:     b.Username,
		Email:        b.Email,
		PasswordHash: hash,
		Role:         store.Role(b.Role),
		IsActive:     orTrue(b.IsActive),
	})
	if err != nil {
		return nil, userProblem(err, b.Username, b.Email)
	}
	s.logUserChange(ctx, "added", u.ID)
	return api.CreateUser201JSONResponse{
		Body: userJSON(u),
		Headers: api.CreateUser201ResponseHeaders{
			ETag:     etag(u.Version),
			Location: address(ctx, "/api/users/%d", u.ID),
		},
	}, nil
}

// GetUser answers GET /api/users/{id}.
func (s *Server) GetUser(
	ctx context.Context, req api.GetUserRequestObject,
) (api.GetUserResponseObject, error) {
	u, err := s.store.User(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return api.GetUser200JSONResponse{UserWithETagJSONResponse: userWithETag(u)}, nil
}

// UpdateUser answers PUT /api/users/{id}.
func (s *Server) UpdateUser(
	ctx context.Context, req api.UpdateUserRequestObject,
) (api.UpdateUserResponseObject, error) {
	b := req.Body
	version, err := ifMatch(req.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := checkUsername(b.Username); err != nil {
		return nil, err
	}
	change := store.UserChange{
		Username: b.Username,
		Email:    b.Email,
		Role:     (*store.Role)(b.Role),
		IsActive: b.IsActive,
	}
	if b.Password != nil {
		hash, err := s.auth.HashPassword(ctx, *b.Password)
		if err != nil {
			return nil, err
		}
		change.PasswordHash = &hash
	}
	u, ended, err := s.store.UpdateUser(ctx, req.ID, version, change)
	if err != nil {
		return nil, userProblem(err, orZero(b.Username), orZero(b.Email))
	}
	s.endSessions(u.ID, ended)
	s.logUserChange(ctx, "changed", u.ID)
	return api.UpdateUser200JSONResponse{UserWithETagJSONResponse: userWithETag(u)}, nil
}

// DeleteUser answers DELETE /api/users/{id}.
func (s *Server) DeleteUser(
	ctx context.Context, req api.DeleteUserRequestObject,
) (api.DeleteUserResponseObject, error) {
	p := req.Params
	version, err := ifMatch(p.IfMatch)
	if err != nil {
		return nil, err
	}
	ended, keys, err := s.store.DeleteUser(ctx, req.ID, version, *p.DryRun)
	if err != nil {
		return nil, userProblem(err, "", "")
	}
	if !*p.DryRun {
		s.endSessions(req.ID, ended)
		s.logUserChange(ctx, "deleted", req.ID)
	}
	return api.DeleteUser200JSONResponse{
		DryRun:   *p.DryRun,
		Sessions: len(ended),
		APIKeys:  keys,
	}, nil
}

// checkUsername refuses a name under which records show API keys.
func checkUsername(name *string) error {
	if name != nil && auth.IsReservedUsername(*name) {
		return invalid("username", "begins like the name of an API key; use another")
	}
	return nil
}

func userWithETag(u store.User) api.UserWithETagJSONResponse {
	return api.UserWithETagJSONResponse{
		Body:    userJSON(u),
		Headers: api.UserWithETagResponseHeaders{ETag: etag(u.Version)},
	}
}

// userProblem names the field or the rule that a change of a user violates.
func userProblem(err error, username, email string) error {
	conflict, _ := errors.AsType[*store.ConflictError](err)
	switch {
	case conflict != nil && conflict.Field == "email":
		return alreadyTaken("email", email)
	case conflict != nil:
		return alreadyTaken("username", username)
	case errors.Is(err, store.ErrLastAdmin):
		return &problem{
			status: http.StatusConflict,
			detail: "This is the last active admin; give another user the role admin first.",
		}
	}
	return err
}

// endSessions makes this instance notice at once that a user has changed and that these sessions of
// the user have ended.
func (s *Server) endSessions(user int64, ended []string) {
	s.auth.ForgetUser(user)
	for _, id := range ended {
		s.hub.EndSession(id)
	}
}

// logUserChange logs who changed which user.
func (s *Server) logUserChange(ctx context.Context, action string, user int64) {
	s.log.LogAttrs(ctx, slog.LevelInfo, "user changed", slog.String("action", action),
		slog.Int64("user_id", user),
		slog.Int64("by_user_id", callOf(ctx).principal.User.ID))
}
