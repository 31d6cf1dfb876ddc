using LiveAvatarService.Avatar;
using Microsoft.AspNetCore.SignalR;
using Musecast.Http;
using Musecast.Messages;
using Musecast.NetMq;
using Musecast.Streaming;

var builder = WebApplication.CreateBuilder(args);
var musecast = builder.Configuration.GetSection("Musecast");

builder.Services.AddSignalR(hub => hub.MaximumParallelInvocationsPerClient = 4); // Interrupt comes while Ask still writes
builder.Services.AddHttpClient<MusecastHttp>(http =>
{
    http.BaseAddress = new Uri(musecast["Gateway"] ?? "http://127.0.0.1:28888/");
    http.Timeout = Timeout.InfiniteTimeSpan; // each call has its token
    if (musecast["Token"] is { Length: > 0 } token)
    {
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
    }
});
builder.Services.AddSingleton<ITransport>(_ => new NetMqTransport(
    musecast["Control"] ?? "tcp://127.0.0.1:28880", musecast["Stream"] ?? "tcp://127.0.0.1:28881"));
builder.Services.AddSingleton<MusecastControl>();
builder.Services.AddSingleton<MusecastStream>();
builder.Services.AddSingleton<ILanguageModel, Echo>(); // put your own here
builder.Services.AddSingleton<ISpeech, Silence>(); // and here
builder.Services.AddSingleton<IViewers, SignalRViewers>();
builder.Services.AddSingleton<LiveAvatar>();

var app = builder.Build();
app.MapGet("/health", async (MusecastHttp avatar, CancellationToken cancel) =>
    await avatar.IsHealthyAsync(cancel) ? Results.Ok() : Results.StatusCode(503));
app.MapPost("/templates/{id}", async (string id, HttpRequest request, MusecastHttp avatar, CancellationToken cancel) =>
    (await avatar.PreprocessTemplateAsync(id, request.Body, cancel: cancel)).TemplateId);
app.MapHub<AvatarHub>("/avatar");
app.Run();

internal sealed class AvatarHub : Hub
{
    private readonly LiveAvatar _avatar;
    private readonly IHostApplicationLifetime _life;
    private readonly ILogger<AvatarHub> _log;

    public AvatarHub(LiveAvatar avatar, IHostApplicationLifetime life, ILogger<AvatarHub> log) =>
        (_avatar, _life, _log) = (avatar, life, log);

    public async Task<object> Start(string templateId)
    {
        var (session, pushing) = await _avatar.StartAsync(templateId, _life.ApplicationStopping);
        _ = pushing.ContinueWith(
            lost => _log.LogError(lost.Exception, "no more media of session {Session}", session.SessionId),
            TaskContinuationOptions.OnlyOnFaulted);
        await Groups.AddToGroupAsync(Context.ConnectionId, session.SessionId);
        Context.Items["session"] = session.SessionId;
        return new { session.SessionId, session.Mime, session.Init };
    }

    public Task<int?> Ask(string text) => _avatar.AnswerAsync(Session, text, Context.ConnectionAborted);

    public Task<int> Chat(string text) => _avatar.ChatAsync(Session, text, Context.ConnectionAborted);

    public async Task<long> Interrupt() => (await _avatar.InterruptAsync(Session)).FlushFrom;

    public override async Task OnDisconnectedAsync(Exception? exception)
    {
        if (Context.Items.ContainsKey("session"))
        {
            await _avatar.EndAsync(Session);
        }
    }

    private string Session => Context.Items["session"] as string ?? throw new HubException("call Start first");
}

internal sealed class SignalRViewers : IViewers
{
    private readonly IHubContext<AvatarHub> _hub;

    public SignalRViewers(IHubContext<AvatarHub> hub) => _hub = hub;

    public Task PushAsync(string sessionId, Published message, CancellationToken cancel) => message switch
    {
        Segment one => _hub.Clients.Group(sessionId).SendAsync(
            "segment", new { one.Seq, one.Gen, one.Pts, one.Dur, one.Keep, one.FlushFrom, one.Payload }, cancel),
        SessionEvent one => _hub.Clients.Group(sessionId).SendAsync("event", new { one.Name, one.Turn, one.Pts }, cancel),
        _ => Task.CompletedTask,
    };
}
