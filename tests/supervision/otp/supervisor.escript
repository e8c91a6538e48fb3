#!/usr/bin/env escript
%%! -noshell +S 1:1
%% Erlang/OTP's own supervisor, moved step by step: the other half of the differential test (differential.py).
%%
%% Read line by line from standard input, each an Erlang term; answered by the events it caused, a line each, then ".".
%% Nothing is left to chance: a supervisor's start function asks this process what to do and waits, a child told to stop
%% waits until this process lets it end, the clock is virtual, and a line is answered when every supervisor is blocked.
%%
%%   {new, Flags, [Spec]}        a fresh tree; Flags = {Strategy, Intensity, Period, AutoShutdown},
%%                               Spec = {Id, Restart, Significant, Shutdown, Type | {supervisor, Flags, [Spec]}}
%%   {started, Path, Info}       answer a start: none | some info
%%   {failed, Path, Reason}
%%   {ignored, Path}
%%   {exit, Path, Reason}        a running (or stopping) child ends; `killed` is a real kill
%%   {call, N, SupPath, Request} ask a supervisor, as the functions of supervisor.erl do
%%   {shutdown, Reason}          the root's parent wants it to end
%%   {clock, Seconds}
%%
%% Events: "SupPath start Id", "SupPath stop Id", "SupPath kill Id", "SupPath reply N …", "SupPath report …",
%% "SupPath initialised", "SupPath exit Reason", in the order in which that supervisor did them.
%%
%% Stops: Shutdown 1 is a child that never obeys, so its kill is awaited; all others obey when this process lets them.
%% One change is made to supervisor.erl as it is loaded: `erlang:monotonic_time`, whose unit is 1 in OTP 25 and `second`
%% in OTP 29, reads the virtual clock.
-module(otp_side).
-export([main/1, init/1, start_child/4, start_tree/4, start_dynamic/4, seconds/0, log/2]).
-mode(compile).

-record(s, {sups = #{},         % SupPath => pid
            names = #{},        % pid => SupPath
            kids = #{},         % Path => {Pid, Obeys}
            paths = #{},        % pid => Path
            asked = #{},        % Path => pid of the supervisor that waits in the child's start
            stopping = #{},     % pid => true: told to stop
            dead = #{},         % pid => true: ended by a line, perhaps before its supervisor noticed
            calls = [],         % {SupPath, N}
            parent,
            events = []}).

main(_) ->
    Clock = atomics:new(1, []),
    persistent_term:put(virtual_clock, Clock),
    persistent_term:put(controller, self()),
    load_supervisor(),
    ok = logger:set_primary_config(level, debug),  % where OTP 29 tells of children that are started later
    ok = logger:remove_handler(default),
    ok = logger:add_handler(reports, ?MODULE, #{}),
    erlang:trace_pattern({erlang, exit, 2}, true, []),
    erlang:trace_pattern({proc_lib, init_ack, 2}, true, []),
    io:format("otp ~s~n.~n", [erlang:system_info(otp_release)]),
    lines(#s{}).

load_supervisor() ->
    {ok, {_, [{abstract_code, {raw_abstract_v1, Forms}}]}} =
        beam_lib:chunks(code:which(supervisor), [abstract_code]),
    {Hooked, Hooks} = hook(Forms, 0),
    true = Hooks > 0,
    {ok, supervisor, Binary} = compile:forms(Hooked, []),
    true = code:unstick_mod(supervisor),
    {module, supervisor} = code:load_binary(supervisor, "supervisor with a virtual clock", Binary).

hook({call, L, {remote, _, {atom, _, erlang}, {atom, _, monotonic_time}}, [{_, _, Unit}]}, N)
    when Unit =:= 1; Unit =:= second ->
    {{call, L, {remote, L, {atom, L, ?MODULE}, {atom, L, seconds}}, []}, N + 1};
hook(T, N) when is_tuple(T) ->
    {L, M} = hook(tuple_to_list(T), N),
    {list_to_tuple(L), M};
hook([H | T], N) ->
    {H1, N1} = hook(H, N),
    {T1, N2} = hook(T, N1),
    {[H1 | T1], N2};
hook(X, N) ->
    {X, N}.

seconds() -> atomics:get(persistent_term:get(virtual_clock), 1).

lines(S) ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Command} = erl_parse:parse_term(Tokens),
            S1 = settle(do(Command, S)),
            io:put_chars([[[E, $\n] || E <- lists:reverse(S1#s.events)], ".\n"]),
            lines(S1#s{events = []})
    end.

%% -- commands ----------------------------------------------------------------------------------------------------------

do({new, Flags, Specs}, Old) ->
    discard(Old),
    Me = self(),
    atomics:put(persistent_term:get(virtual_clock), 1, 0),
    Parent = spawn(fun() ->
        process_flag(trap_exit, true),
        Me ! {result, supervisor:start_link(?MODULE, {root, Flags, Specs})},
        parent(Me)
    end),
    #s{parent = Parent};
do({clock, Seconds}, S) ->
    atomics:put(persistent_term:get(virtual_clock), 1, Seconds),
    S;
do({started, Path, Info}, S) -> answer(Path, {started, Info}, S);
do({failed, Path, Reason}, S) -> answer(Path, {error, Reason}, S);
do({ignored, Path}, S) -> answer(Path, ignore, S);
do({exit, Path, Reason}, #s{kids = Kids} = S) ->
    {Pid, _} = maps:get(Path, Kids),
    Ref = monitor(process, Pid),
    case Reason of
        killed -> exit(Pid, kill);
        _ -> Pid ! {die, Reason}
    end,
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    unlinked(maps:get(parent_of(Path), S#s.sups), Pid),
    S#s{dead = (S#s.dead)#{Pid => true}};
do({call, N, SupPath, Request}, #s{sups = Sups} = S) ->
    case request(SupPath, Request, S) of
        {skip, Text} -> event(SupPath, ["reply ", integer_to_list(N), " ", Text], S);
        Term ->
            maps:get(SupPath, Sups) ! {'$gen_call', {self(), {call, SupPath, N}}, Term},
            S#s{calls = S#s.calls ++ [{SupPath, N}]}
    end;
do({shutdown, Reason}, S) ->
    S#s.parent ! {shutdown, maps:get(root, S#s.sups), Reason},
    receive shutdown_sent -> S end.

request(SupPath, {start_child, Spec}, _) -> {start_child, spec(SupPath, Spec)};
request(SupPath, {start_dynamic, Tag}, _) -> {start_child, [path(SupPath, Tag)]};
request(SupPath, {terminate_dynamic, Tag}, S) -> {terminate_child, dynamic(SupPath, Tag, S)};
request(SupPath, {spec_of_dynamic, Tag}, S) -> {get_childspec, dynamic(SupPath, Tag, S)};
request(_, Other, _) -> Other.

%% A dynamic child is named by its pid; a stranger by one that lives and is nobody's child.
dynamic(SupPath, Tag, #s{kids = Kids}) ->
    case Kids of
        #{[Tag | SupPath] := {Pid, _}} -> Pid;
        _ -> self()
    end.

answer(Path, Answer, #s{asked = Asked} = S) ->
    {Sup, Asked1} = maps:take(Path, Asked),
    Sup ! {answer, Answer},
    S#s{asked = Asked1}.

unlinked(Sup, Pid) ->
    case process_info(Sup, links) of
        {links, Links} ->
            case lists:member(Pid, Links) of
                true -> erlang:yield(), unlinked(Sup, Pid);
                false -> ok
            end;
        undefined -> ok
    end.

discard(#s{parent = undefined}) -> ok;
discard(#s{sups = Sups, kids = Kids, parent = Parent}) ->
    Pids = [Parent | maps:values(Sups)] ++ [P || {P, _} <- maps:values(Kids)],
    [begin
         R = monitor(process, P),
         exit(P, kill),
         receive {'DOWN', R, process, P, _} -> ok end
     end || P <- Pids],
    flush().

flush() ->
    receive _ -> flush() after 0 -> ok end.

parent(Me) ->
    receive
        {shutdown, Sup, Reason} -> exit(Sup, Reason), Me ! shutdown_sent, parent(Me);
        {'EXIT', _, _} -> parent(Me)
    end.

%% -- what runs inside the supervisors ----------------------------------------------------------------------------------

%% SupPath is a list of ids, the innermost first.
path(root, Id) -> [Id | root];
path(SupPath, Id) -> [Id | SupPath].

parent_of([_ | SupPath]) -> SupPath.

init({SupPath, {Strategy, Intensity, Period, Auto}, Specs}) ->
    persistent_term:get(controller) ! {supervisor, SupPath, self()},
    receive traced -> ok end,
    {ok, {#{strategy => Strategy, intensity => Intensity, period => Period, auto_shutdown => Auto},
          [case Strategy of
               simple_one_for_one -> template(SupPath, Spec);
               _ -> spec(SupPath, Spec)
           end || Spec <- Specs]}}.

spec(SupPath, {Id, Restart, Significant, Shutdown, Type}) ->
    {Start, Kind} =
        case Type of
            {supervisor, Flags, Specs} -> {{?MODULE, start_tree, [path(SupPath, Id), Flags, Specs, x]}, supervisor};
            _ -> {{?MODULE, start_child, [path(SupPath, Id), Shutdown, x, x]}, Type}
        end,
    #{id => Id, start => Start, restart => Restart, significant => Significant, shutdown => Shutdown, type => Kind}.

template(_SupPath, {Id, Restart, Significant, Shutdown, Type}) ->
    #{id => Id, start => {?MODULE, start_dynamic, [Shutdown, x, x]}, restart => Restart,
      significant => Significant, shutdown => Shutdown, type => Type}.

start_dynamic(Shutdown, _, _, Path) -> start_child(Path, Shutdown, x, x).

start_tree(Path, Flags, Specs, _) -> 
    persistent_term:get(controller) ! {starting_tree, Path, self()},
    supervisor:start_link(?MODULE, {Path, Flags, Specs}).

start_child(Path, Shutdown, _, _) ->
    Controller = persistent_term:get(controller),
    Controller ! {starting, Path, self()},
    receive
        {answer, {started, Info}} ->
            Pid = spawn_link(fun() -> process_flag(trap_exit, true), Controller ! {ready, self()}, child() end),
            Controller ! {child, Path, Pid, obeys(Shutdown), self()},
            %% A child that does not trap exits yet would end by itself when told to stop.
            receive {go, Pid} -> ok end,
            case Info of
                none -> {ok, Pid};
                _ -> {ok, Pid, Info}
            end;
        {answer, Other} -> Other
    end.

obeys(brutal_kill) -> false;
obeys(1) -> false;
obeys(_) -> true.

child() ->
    receive
        {die, Reason} -> exit(Reason);
        _ -> child()
    end.

log(#{msg := {report, #{label := {supervisor, progress}, report := R}}}, _) ->
    {started, Child} = lists:keyfind(started, 1, R),
    send_report(["progress started ", name(Child)]);
log(#{msg := {report, #{label := {supervisor, Context}, report := R}}}, _) ->
    {reason, Reason} = lists:keyfind(reason, 1, R),
    {offender, Child} = lists:keyfind(offender, 1, R),
    Many = case lists:keyfind(nb_children, 1, Child) of
               {_, N} -> io_lib:format(" x~w", [N]);
               false -> []
           end,
    Why = case Reason of
              reached_max_restart_intensity -> [];
              _ -> io_lib:format(" ~w", [Reason])
          end,
    send_report([io_lib:format("supervisor ~w ", [Context]), name(Child), Why, Many]);
log(_, _) -> ok.

send_report(Text) -> persistent_term:get(controller) ! {report, self(), Text}.

%% Of a dynamic child, this is the template's.
name(Child) ->
    {id, Id} = lists:keyfind(id, 1, Child),
    atom_to_list(Id).

%% -- waiting until nothing moves ---------------------------------------------------------------------------------------

settle(S0) ->
    S = drain(S0),
    case still(S) of
        true ->
            %% Twice: what one supervisor did last may have woken one that was looked at before.
            S1 = drain(S),
            case S1#s.events =:= S#s.events andalso still(S1) of
                true -> S1;
                false -> settle(S1)
            end;
        false -> erlang:yield(), settle(S)
    end.

drain(S) ->
    receive
        {supervisor, SupPath, Pid} ->
            monitor(process, Pid),
            erlang:trace(Pid, true, [call]),
            Pid ! traced,
            drain(S#s{sups = (S#s.sups)#{SupPath => Pid}, names = (S#s.names)#{Pid => SupPath},
                      paths = (S#s.paths)#{Pid => SupPath}});
        {starting_tree, [Id | SupPath], _} ->
            drain(event(SupPath, ["start ", atom_to_list(Id)], S));
        {starting, [Id | SupPath] = Path, Sup} ->
            drain(event(SupPath, ["start ", atom_to_list(Id)], S#s{asked = (S#s.asked)#{Path => Sup}}));
        {child, Path, Pid, Obeys, Sup} ->
            receive {ready, Pid} -> Sup ! {go, Pid} end,
            drain(S#s{kids = (S#s.kids)#{Path => {Pid, Obeys}}, paths = (S#s.paths)#{Pid => Path}});
        {trace, Sup, call, {erlang, exit, [Pid, Why]}} when is_map_key(Pid, S#s.paths) ->
            drain(told(maps:get(Sup, S#s.names), Pid, Why, S));
        {trace, Sup, call, {proc_lib, init_ack, [_, {ok, Sup}]}} ->
            drain(event(maps:get(Sup, S#s.names), "initialised", S));
        {trace, _, call, _} ->
            drain(S);
        {report, Sup, Text} when is_map_key(Sup, S#s.names) ->
            drain(event(maps:get(Sup, S#s.names), ["report ", Text], S));
        {report, _, _} ->
            drain(S);
        {{call, SupPath, N}, Reply} ->
            Text = reply(Reply, S),
            drain(event(SupPath, ["reply ", integer_to_list(N), " ", Text], S#s{calls = S#s.calls -- [{SupPath, N}]}));
        {'DOWN', _, process, Sup, Reason} when is_map_key(Sup, S#s.names) ->
            drain(gone(maps:get(Sup, S#s.names), Sup, Reason, S));
        {result, _} ->
            drain(S)
    after 0 -> S
    end.

word(bad_start_spec, _) -> "bad_start_spec";
word(_, Why) when is_tuple(Why) -> atom_to_list(element(1, Why));
word(_, Why) -> atom_to_list(Why).

%% A supervisor tells a child to stop. One that is dead already is not told by anybody: its exit only waits to be read.
told(SupPath, Pid, Why, S) ->
    [Id | _] = maps:get(Pid, S#s.paths),
    Verb = case Why of kill -> "kill "; shutdown -> "stop " end,
    case S#s.dead of
        #{Pid := true} -> S;
        _ -> event(SupPath, [Verb, atom_to_list(Id)], S#s{stopping = (S#s.stopping)#{Pid => true}})
    end.

gone(SupPath, Sup, Reason, S) ->
    S1 = case Reason of
             {Word, Why} when Word =:= start_spec; Word =:= bad_start_spec; Word =:= supervisor_data ->
                 event(SupPath, ["bad_spec ", word(Word, Why)], S);
             _ -> event(SupPath, io_lib:format("exit ~w", [Reason]), S)
         end,
    {Late, Calls} = lists:partition(fun({P, _}) -> P =:= SupPath end, S1#s.calls),
    S2 = lists:foldl(fun({_, N}, A) -> event(SupPath, ["reply ", integer_to_list(N), " error noproc"], A) end, S1, Late),
    S2#s{sups = maps:filter(fun(_, P) -> P =/= Sup end, S2#s.sups), names = maps:remove(Sup, S2#s.names),
         dead = (S2#s.dead)#{Sup => true}, calls = Calls}.

event(SupPath, Text, S) ->
    S#s{events = [[path_text(SupPath), " ", Text] | S#s.events]}.

path_text(root) -> "root";
path_text([Id | SupPath]) -> [path_text(SupPath), "/", atom_to_list(Id)].

%% Whether every supervisor is blocked until the next line.
still(S) ->
    lists:all(fun(Sup) -> blocked(Sup, S) end, maps:values(S#s.sups)) andalso (maps:size(S#s.names) > 0 orelse over(S)).

%% No supervisor: not yet there, or ended, which has been told.
over(S) -> S#s.events =/= [] orelse not is_process_alive(S#s.parent).

blocked(Sup, S) ->
    case process_info(Sup, [status, current_function, message_queue_len]) of
        undefined -> false;  % its end is about to be told
        [{status, waiting}, {current_function, Function}, {message_queue_len, Length}] ->
            case Function of
                {gen_server, loop, _} -> Length =:= 0;
                {?MODULE, start_child, _} -> lists:member(Sup, maps:values(S#s.asked));
                {proc_lib, _, _} -> true;  % waits for a supervisor below to start, which is looked at itself
                {supervisor, shutdown, _} -> obedient(Sup, S);
                {supervisor, wait_dynamic_children, _} -> all_told(Sup, S);
                _ -> false
            end;
        _ -> false
    end.

%% Told to stop, and waiting until this process lets it; or a supervisor, which is looked at itself.
obedient(Sup, S) ->
    lists:any(fun(Pid) -> waits(Pid, S) end, mine(Sup, S)).

all_told(Sup, S) ->
    Living = [P || P <- mine(Sup, S), is_process_alive(P)],
    Living =/= [] andalso lists:all(fun(Pid) -> waits(Pid, S) end, Living).

waits(Pid, S) ->
    is_map_key(Pid, S#s.stopping) andalso is_process_alive(Pid) andalso
        case maps:get(Pid, S#s.paths, none) of
            none -> false;
            Path ->
                case S#s.kids of
                    #{Path := {Pid, Obeys}} -> Obeys;
                    _ -> maps:is_key(Pid, S#s.names)
                end
        end.

mine(Sup, S) ->
    SupPath = maps:get(Sup, S#s.names),
    [P || {P, [_ | Parent]} <- maps:to_list(S#s.paths), Parent =:= SupPath].

%% -- replies -----------------------------------------------------------------------------------------------------------

reply({ok, undefined}, _) -> "ok undefined";
reply({ok, Pid}, _) when is_pid(Pid) -> "ok";
reply({ok, Pid, Info}, _) when is_pid(Pid) -> io_lib:format("ok ~w", [Info]);
reply({ok, #{id := Id, restart := R, significant := G, shutdown := D, type := T}}, _) ->
    io_lib:format("spec ~w ~w ~w ~w ~w", [Id, R, G, D, T]);
reply(ok, _) -> "ok";
reply({error, {already_started, _}}, _) -> "error already_started";
reply({error, {Why, Child}}, _) when element(1, Child) =:= child -> io_lib:format("error start_failed ~w", [Why]);
reply({error, {Word, _}}, _)
  when Word =:= bad_combination; Word =:= invalid_restart_type; Word =:= invalid_shutdown; Word =:= invalid_child_type ->
    io_lib:format("error bad_spec ~w", [Word]);
reply({error, Word}, _)
  when Word =:= already_present; Word =:= running; Word =:= restarting; Word =:= not_found; Word =:= simple_one_for_one ->
    io_lib:format("error ~w", [Word]);
reply({error, Why}, _) -> io_lib:format("error start_failed ~w", [Why]);
reply([{specs, Specs}, {active, Active}, {supervisors, Sups}, {workers, Workers}], _) ->
    io_lib:format("count ~w ~w ~w ~w", [Specs, Active, Sups, Workers]);
reply(Children, S) when is_list(Children) ->
    Dynamic = [D || {undefined, _, _, _} = D <- Children],
    Texts = [which(C, S) || C <- Children],
    ["which", [[" ", T] || T <- case Dynamic of [] -> Texts; _ -> lists:sort(Texts) end]].

which({undefined, restarting, Type, _}, _) -> lists:flatten(io_lib:format("~w:restarting", [Type]));
which({undefined, Pid, Type, _}, S) ->
    [Tag | _] = maps:get(Pid, S#s.paths),
    lists:flatten(io_lib:format("~w:~w:running", [Tag, Type]));
which({Id, undefined, Type, _}, _) -> io_lib:format("~w:~w:stopped", [Id, Type]);
which({Id, restarting, Type, _}, _) -> io_lib:format("~w:~w:restarting", [Id, Type]);
which({Id, _, Type, _}, _) -> io_lib:format("~w:~w:running", [Id, Type]).
