package server

import (
	"context"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// ListRejections answers GET /api/data/rejections.
func (s *Server) ListRejections(
	ctx context.Context, req api.ListRejectionsRequestObject,
) (api.ListRejectionsResponseObject, error) {
	p := req.Params
	at, id, err := instantCursor(p.Cursor, 64)
	if err != nil {
		return nil, err
	}
	if err := checkSpan(p.Start, p.End); err != nil {
		return nil, err
	}
	f := store.RejectionFilter{
		Gateway:   p.Gateway,
		GatewayID: p.GatewayID,
		Reason:    (*string)(p.Reason),
		Topic:     p.Topic,
		Start:     p.Start,
		End:       p.End,
	}
	list, err := s.store.Rejections(ctx, f, at, id, *p.Limit+1)
	if err != nil {
		return nil, err
	}
	if err := s.checkFilterIDs(ctx, len(list), p.Cursor == nil,
		referencedIDs{Gateway: p.GatewayID}); err != nil {
		return nil, err
	}
	list, link := page(ctx, list, *p.Limit,
		func(r store.RecordedRejection) string { return encodeInstant(r.LastAt, r.ID) })
	total, err := totalCount(ctx, *p.Count, s.store.CountRejections, f)
	if err != nil {
		return nil, err
	}
	return api.ListRejections200JSONResponse{
		Body:    mapSlice(list, rejectionJSON),
		Headers: api.ListRejections200ResponseHeaders{Link: link, XTotalCount: total},
	}, nil
}

func rejectionJSON(r store.RecordedRejection) api.Rejection {
	out := api.Rejection{
		ID:          r.ID,
		Gateway:     r.Gateway,
		GatewayID:   orNull(r.GatewayID),
		Topic:       r.Topic,
		Reason:      api.RejectionReason(r.Reason),
		Detail:      r.Detail,
		PayloadSize: r.PayloadSize,
		Folded:      r.Folded,
		Count:       r.Count,
		FirstAt:     r.FirstAt.UTC(),
		LastAt:      r.LastAt.UTC(),
	}
	var isText bool
	if out.Payload, isText = readable(r.Payload, r.PayloadSize); isText {
		out.PayloadEncoding = api.RejectionPayloadEncodingText
	} else {
		out.Payload = base64.StdEncoding.EncodeToString(r.Payload)
		out.PayloadEncoding = api.RejectionPayloadEncodingBase64
	}
	return out
}

// readable returns the stored start of a payload of size bytes, if it is text, without a character
// at its end that is incomplete.
func readable(kept []byte, size int) (text string, ok bool) {
	if size > len(kept) {
		for i := len(kept) - 1; i >= max(0, len(kept)-utf8.UTFMax); i-- {
			if utf8.RuneStart(kept[i]) {
				if !utf8.FullRune(kept[i:]) {
					kept = kept[:i]
				}
				break
			}
		}
	}
	isControl := func(r rune) bool {
		return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n",
			r)
	}
	text = string(kept)
	return text, utf8.ValidString(text) && !strings.ContainsFunc(text, isControl)
}
